package eventsource_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventsource"
)

var noContent = reply{status: http.StatusNoContent, end: io.EOF}

// What a first answer does, and what the same does after a stream had been open.
func TestAnswers(t *testing.T) {
	const (
		again = "again"
		final = "final"
		end   = "end"
	)
	typed := func(contentType string) reply {
		return reply{header: http.Header{"Content-Type": {contentType}}, parts: []part{{0, "data: a\n\n"}}, end: io.EOF}
	}
	type row struct {
		name                   string
		reply                  reply
		first, later, standard string
		unopened               bool // the first answer opens no stream
	}
	rows := []row{
		{"an error of the network", reply{refuse: errCut}, again, again, again, true},
		{"no answer", reply{mute: true}, again, again, again, true},
		{"the end of a stream", stream("data: a\n\n", io.EOF), again, again, again, false},
		{"a stream that breaks off", stream("data: a\n\n", errCut), again, again, again, false},
		{"the type with a parameter", typed("text/event-stream;charset=windows-1252"), again, again, again, false},
		{"the type in other letters", typed(" Text/Event-Stream ; x"), again, again, again, false},
		{"a web page", typed("text/html"), final, again, final, true},
		{"a longer type", typed("text/event-streams"), final, again, final, true},
		{"no type", typed(";"), final, again, final, true},
		{"tidings.end, finished", stream("event: tidings.end\ndata: {\"reason\":\"finished\"}\n\n", nil), end, end, end, false},
		{"tidings.end, expired", stream("event: tidings.end\ndata: {\"reason\":\"expired\"}\n\n", nil), again, again, again, false},
		{"tidings.unavailable", stream("event: tidings.unavailable\ndata: {}\n\n", nil), again, again, again, true},
	}
	for status, want := range map[int]string{
		204: end,
		201: final, 205: final, 210: final, 299: final, 300: final, 304: final,
		400: final, 401: final, 403: final, 404: final, 410: final, 418: final, 422: final,
		408: again, 429: again, 500: again, 502: again, 503: again, 504: again, 507: again, 599: again,
	} {
		standard := final
		if status == 204 {
			standard = end
		}
		rows = append(rows, row{fmt.Sprint(status), reply{status: status, end: io.EOF}, want, want, standard, want == again})
	}
	// judge returns what a client makes of the last reply.
	judge := func(t *testing.T, opts *eventsource.Options, replies ...reply) (is string) {
		synctest.Test(t, func(t *testing.T) {
			srv := inOrder(append(replies, noContent)...)
			o := collect(t.Context(), srv.client(opts), nil)
			switch {
			case o.last != nil:
				is = final
			case srv.count() > len(replies):
				is = again
			default:
				is = end
			}
		})
		return is
	}
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			if got := judge(t, nil, tt.reply); got != tt.first {
				t.Errorf("the first answer: %s, want %s", got, tt.first)
			}
			if got := judge(t, nil, stream("data: b\n\n", errCut), tt.reply); got != tt.later {
				t.Errorf("a later answer: %s, want %s", got, tt.later)
			}
			if got := judge(t, &eventsource.Options{Standard: true}, tt.reply); got != tt.standard {
				t.Errorf("by the standard: %s, want %s", got, tt.standard)
			}
			want := tt.first
			if tt.unopened {
				want = final
			}
			if got := judge(t, &eventsource.Options{FailFast: true}, tt.reply); got != want {
				t.Errorf("FailFast: %s, want %s", got, want)
			}
		})
	}
}

// Only GET and HEAD are sent again.
func TestMethodsThatAreSentAgain(t *testing.T) {
	for _, method := range []string{"", "GET", "HEAD", "POST", "REPORT", "PUT", "DELETE"} {
		for _, tt := range []struct {
			name  string
			reply reply
			err   bool // without a repetition, the sequence ends with an error
		}{
			{"ends", stream("data: a\n\n", io.EOF), false},
			{"is cut", stream("data: a\n\n", errCut), true},
			{"is refused", reply{status: 503, end: io.EOF}, true},
			{"fails", reply{refuse: errCut}, true},
		} {
			t.Run(method+" "+tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					once := method != "" && method != "GET" && method != "HEAD"
					srv := inOrder(tt.reply, noContent)
					o := collect(t.Context(), srv.client(&eventsource.Options{Method: method}), nil)
					if want := map[bool]int{true: 1, false: 2}[once]; srv.count() != want {
						t.Errorf("%d requests, want %d", srv.count(), want)
					}
					if want := once && tt.err; (o.last != nil) != want {
						t.Errorf("ended with %v", o.last)
					}
					srv = inOrder(tt.reply, noContent)
					if o = collect(t.Context(), srv.client(&eventsource.Options{Method: method, Repeat: true}), nil); srv.count() != 2 || o.last != nil {
						t.Errorf("with Repeat: %d requests, ended with %v", srv.count(), o.last)
					}
				})
			})
		}
	}
}

func TestABodyIsSentWithEachRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bodies []string
		srv := &server{reply: func(n int, req *http.Request) reply {
			b, _ := io.ReadAll(req.Body)
			bodies = append(bodies, fmt.Sprint(req.Method, " ", req.ContentLength, " ", string(b)))
			if n == 2 {
				return noContent
			}
			return stream("data: a\n\n", errCut)
		}}
		collect(t.Context(), srv.client(&eventsource.Options{Method: "POST", Body: []byte(`{"a":1}`), Repeat: true}), nil)
		if want := `POST 7 {"a":1}`; !slices.Equal(bodies, []string{want, want, want}) {
			t.Errorf("bodies %q", bodies)
		}
	})
}

// The numbers are the statuses of the answers; 0 is a stream that breaks off.
func TestA401AsksPrepareOnceMore(t *testing.T) {
	for _, tt := range []struct {
		name     string
		answers  []int
		prepare  bool
		requests int
		final    bool
	}{
		{"without Prepare", []int{401, 204}, false, 1, true},
		{"once", []int{401, 204}, true, 2, false},
		{"twice in a row", []int{401, 401, 204}, true, 2, true},
		{"again after a stream", []int{401, 0, 401, 0, 401, 204}, true, 6, false},
		{"twice after a stream", []int{0, 401, 401, 204}, true, 3, true},
		{"another failure between", []int{401, 503, 401, 204}, true, 4, false},
		{"403 is final", []int{403, 204}, true, 1, true},
		{"by the standard", []int{401, 204}, true, 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &server{reply: func(n int, _ *http.Request) reply {
					if tt.answers[n] == 0 {
						return stream("data: a\n\n", errCut)
					}
					return reply{status: tt.answers[n], end: io.EOF}
				}}
				opts := &eventsource.Options{Standard: strings.Contains(tt.name, "standard")}
				asked := 0
				if tt.prepare {
					opts.Prepare = func(_ context.Context, req *http.Request) error {
						asked++
						req.Header.Set("Authorization", fmt.Sprint("Bearer ", asked))
						return nil
					}
				}
				o := collect(t.Context(), srv.client(opts), nil)
				if srv.count() != tt.requests || (o.last != nil) != tt.final {
					t.Errorf("%d requests, ended with %v", srv.count(), o.last)
				}
				if tt.prepare && asked != tt.requests {
					t.Errorf("asked %d times for %d requests", asked, tt.requests)
				}
				for i, gap := range srv.gaps() {
					if tt.answers[i] == 401 && gap != 0 {
						t.Errorf("waited %v after a 401", gap)
					}
				}
			})
		})
	}
}

// A stream that has opened shows that the credential was good, also if Reconnect
// ends it.
func TestA401AfterReconnectAsksPrepareOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused, open := reply{status: 401, end: io.EOF}, stream("data: a\n\n", nil)
		srv := inOrder(refused, open, refused, open, noContent)
		c := srv.client(&eventsource.Options{Prepare: func(context.Context, *http.Request) error { return nil }})
		o := collect(t.Context(), c, func(*outcome) bool { c.Reconnect(); return false })
		if srv.count() != 5 || o.last != nil || len(o.events) != 2 {
			t.Errorf("%d requests and %d events, ended with %v", srv.count(), len(o.events), o.last)
		}
	})
}

func TestPrepareSeesTheRequestAndMayFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := inOrder(stream("id: 7\ndata: a\n\n", errCut), noContent)
		asked := 0
		c := srv.client(&eventsource.Options{Prepare: func(ctx context.Context, req *http.Request) error {
			switch asked++; asked {
			case 1:
				return errCut
			case 2: // a server of tokens that hangs
				<-ctx.Done()
				return ctx.Err()
			}
			req.URL.RawQuery += "&token=1"
			if asked == 4 && req.Header.Get("Last-Event-ID") != "7" {
				t.Errorf("Prepare sees %v", req.Header)
			}
			return nil
		}})
		start := time.Now()
		o := collect(t.Context(), c, func(*outcome) bool {
			if d := time.Since(start); d < 11500*ms || d > 13*s {
				t.Errorf("the first request was sent after %v", d)
			}
			return false
		})
		o.check(t, "a")
		if got := srv.requests[1].URL.RawQuery; got != "topic=secret&token=1" {
			t.Errorf("the query is %q", got)
		}

		refused := fmt.Errorf("no such user: %w", eventsource.ErrFinal)
		srv = inOrder(noContent)
		c = srv.client(&eventsource.Options{Prepare: func(context.Context, *http.Request) error { return refused }})
		if o := collect(t.Context(), c, nil); !errors.Is(o.last, refused) || srv.count() != 0 {
			t.Errorf("%d requests, ended with %v", srv.count(), o.last)
		}
	})
}

func TestHeadersOfTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := http.Header{"x-a": {"1", "2"}, "accept": {"text/event-stream, */*"}, "Last-Event-ID": {"other"}}
		srv := inOrder(stream("id: é 漢\t1\ndata: a\n\n", errCut), stream("id: \x01\ndata: b\n\n", errCut), stream("id\ndata: c\n\n", errCut), noContent)
		o := collect(t.Context(), srv.client(&eventsource.Options{Header: own, LastEventID: "5"}), nil)
		o.check(t, "a", "b", "c")
		if got := srv.sent("Last-Event-ID"); !slices.Equal(got, []string{"5", "é 漢\t1", "", ""}) {
			t.Errorf("last event IDs %q", got)
		}
		h := srv.requests[0].Header
		if h.Get("Accept") != "text/event-stream, */*" || h.Get("Cache-Control") != "no-cache" || h.Get("Accept-Encoding") != "identity" || len(h["X-A"]) != 2 {
			t.Errorf("headers %v", h)
		}
		if _, sent := srv.requests[3].Header["Last-Event-Id"]; sent {
			t.Error("an empty last event ID is sent")
		}
	})
}

func TestErrorsSayWhatTheServerSaid(t *testing.T) {
	problem := http.Header{"Content-Type": {"application/problem+json; charset=utf-8"}}
	long := strings.Repeat("x", 5000)
	for _, tt := range []struct {
		name  string
		reply reply
		want  string
	}{
		{"a problem", reply{status: 403, header: problem, parts: []part{{0, `{"title":"Not granted","detail":"Ask for \u001b[1mit."}`}}, end: io.EOF}, "eventsource: http://hub.test/events answered 403 Forbidden: Ask for  [1mit."},
		{"a problem without a detail", reply{status: 403, header: problem, parts: []part{{0, `{"title":"Not granted"}`}}, end: io.EOF}, "eventsource: http://hub.test/events answered 403 Forbidden: Not granted"},
		{"a text", reply{status: 404, parts: []part{{0, "no \x1b such\n"}}, end: io.EOF}, `eventsource: http://hub.test/events answered 404 Not Found: "no \x1b such"`},
		{"nothing", reply{status: 499, end: io.EOF}, "eventsource: http://hub.test/events answered 499"},
		{"a body that does not end", reply{status: 404, parts: []part{{0, "no"}}}, `eventsource: http://hub.test/events answered 404 Not Found: "no"`},
		{"a page", reply{header: http.Header{"Content-Type": {"text/html"}}, parts: []part{{0, long}}, end: io.EOF}, `eventsource: http://hub.test/events answered with the Content-Type "text/html", which is not text/event-stream. It begins with "` + long[:200] + `"`},
		{"a stream that is compressed", reply{header: http.Header{"Content-Encoding": {"gzip"}}, parts: []part{{0, long}}}, `eventsource: http://hub.test/events answered with the Content-Encoding "gzip", which the client has not asked for`},
		{"a stream that says it is not", reply{header: http.Header{"Content-Encoding": {"Identity"}}, parts: []part{{0, "event: tidings.end\ndata: {\"reason\":\"finished\"}\n\n"}}}, "<nil>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				o := collect(t.Context(), inOrder(tt.reply).client(nil), nil)
				if d := time.Since(start); d > 5*s {
					t.Errorf("the error came after %v", d)
				}
				if got := fmt.Sprint(o.last); got != tt.want {
					t.Errorf("got  %s\nwant %s", got, tt.want)
				}
				if e, ok := o.last.(*eventsource.ContentTypeError); ok && len(e.Body) != 4096 {
					t.Errorf("the error has %d bytes of the body", len(e.Body))
				}
			})
		})
	}
}

func TestMistakesAreErrors(t *testing.T) {
	for _, tt := range []struct {
		url  string
		opts eventsource.Options
		want string
	}{
		{"http://a.test/", eventsource.Options{HTTPClient: &http.Client{Timeout: s}}, "eventsource: http.Client.Timeout is 1s, which would cut every stream after that time. Set it to 0. The time until a response begins is bounded without it"},
		{"ftp://a.test/?secret", eventsource.Options{}, `eventsource: the URL begins with neither http:// nor https:// and a host: "ftp://a.test/"`},
		{"http:///x", eventsource.Options{}, `eventsource: the URL begins with neither http:// nor https:// and a host: "http:///x"`},
		{"http://a.test/%zz?secret", eventsource.Options{}, "eventsource: the URL cannot be parsed"},
		{"http://a.test/", eventsource.Options{Method: "GE T"}, `eventsource: "GE T" is not the name of a method`},
		{"http://a.test/", eventsource.Options{Header: http.Header{"X-Key": {"secret\n"}}}, `eventsource: the header "X-Key" has a value with a control character, such as a line end`},
		{"http://a.test/", eventsource.Options{Header: http.Header{"X Key": {"secret"}}}, `eventsource: "X Key" is not the name of a header`},
		{"http://a.test/", eventsource.Options{Header: http.Header{"": {"secret"}}}, `eventsource: "" is not the name of a header`},
	} {
		if o := collect(t.Context(), eventsource.New(tt.url, &tt.opts), nil); o.last == nil || o.last.Error() != tt.want {
			t.Errorf("%s: got %v, want %s", tt.url, o.last, tt.want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		c := inOrder(stream("data: a\n\n", nil)).client(nil)
		for range c.Events(t.Context()) {
			if o := collect(t.Context(), c, nil); o.last == nil || !strings.Contains(o.last.Error(), "two loops") {
				t.Errorf("a loop in a loop ends with %v", o.last)
			}
			break
		}
	})
}
