package sse_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/tidings/internal/memhttp"
	"example.com/tidings/sse"
)

type events = iter.Seq2[sse.Event, error]

// of returns a finite stream of evs.
func of(evs ...sse.Event) events {
	return func(yield func(sse.Event, error) bool) {
		for _, ev := range evs {
			if !yield(ev, nil) {
				return
			}
		}
	}
}

// until yields evs and then waits for the end of ctx.
func until(ctx context.Context, evs ...sse.Event) events {
	return func(yield func(sse.Event, error) bool) {
		of(evs...)(yield)
		<-ctx.Done()
	}
}

// serving is a handler that records the result of Serve.
type serving struct {
	events func(r *http.Request) events
	opts   *sse.ServeOptions
	result chan error
}

func serve(opts *sse.ServeOptions, events func(*http.Request) events) *serving {
	return &serving{events, opts, make(chan error, 1)}
}

func (s *serving) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.result <- sse.Serve(w, r, s.events(r), s.opts)
}

func get(t *testing.T, srv *memhttp.Server, h2 bool) *http.Response {
	t.Helper()
	res, err := srv.Client(t, h2).Get(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

// overBoth runs a test in a bubble, once over HTTP/1.1 and once over HTTP/2.
func overBoth(t *testing.T, test func(t *testing.T, h2 bool)) {
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, h2) })
		})
	}
}

func TestServeHeaders(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		h := serve(nil, func(r *http.Request) events { return until(r.Context()) })
		srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Content-Length", "5")
			w.Header().Set("X-Mine", "kept")
			h.ServeHTTP(w, r)
		}), nil)
		res := get(t, srv, h2) // returns before there is an event
		want := map[string]string{
			"Content-Type": "text/event-stream", "Cache-Control": "no-cache",
			"X-Accel-Buffering": "no", "X-Mine": "kept", "Content-Length": "",
		}
		for name, value := range want {
			if got := strings.Join(res.Header.Values(name), "|"); got != value {
				t.Errorf("%s: %q, want %q", name, got, value)
			}
		}
		if !h2 && !slices.Equal(res.TransferEncoding, []string{"chunked"}) {
			t.Errorf("Transfer-Encoding: %q", res.TransferEncoding)
		}
	})
}

func TestServeLeavesCacheControl(t *testing.T) {
	rec := httptest.NewRecorder()
	rec.Header().Set("Cache-Control", "no-store")
	if err := sse.Serve(rec, httptest.NewRequest("GET", "/", nil), of(), nil); err != nil {
		t.Fatal(err)
	}
	if got := rec.Header().Values("Cache-Control"); !slices.Equal(got, []string{"no-store"}) {
		t.Errorf("Cache-Control: %q", got)
	}
}

func TestServeWritesOneChunkPerEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large := strings.Repeat("x", 100_000)
		h := serve(nil, func(r *http.Request) events {
			return of(sse.Event{Data: "a"}, sse.Event{}, sse.Event{Type: "t", Data: "b\nc", ID: "1"}, sse.Event{Data: large})
		})
		srv := memhttp.New(t, h, nil)
		c, err := srv.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		raw, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(string(raw), "\r\n\r\n")
		chunk := func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
		want := chunk("data: a\n\n") + chunk("event: t\ndata: b\ndata: c\nid: 1\n\n") + chunk("data: "+large+"\n\n") + "0\r\n\r\n"
		if body != want {
			t.Errorf("body = %.200q, want %.200q", body, want)
		}
		if err := <-h.result; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

func TestServeOverHTTP10(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := memhttp.New(t, serve(nil, func(r *http.Request) events { return of(sse.Event{Data: "a"}) }), nil)
		c, err := srv.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
		raw, err := io.ReadAll(c)
		head, body, _ := strings.Cut(string(raw), "\r\n\r\n")
		if err != nil || body != "data: a\n\n" || strings.Contains(head, "chunked") {
			t.Errorf("%q, %v", raw, err)
		}
	})
}

func TestServeAnswersHEADWithoutRanging(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		h := serve(nil, func(r *http.Request) events {
			return func(func(sse.Event, error) bool) { t.Error("the sequence was ranged") }
		})
		srv := memhttp.New(t, h, nil)
		res, err := srv.Client(t, h2).Head(srv.URL())
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("Content-Length") != "" {
			t.Errorf("%d %v", res.StatusCode, res.Header)
		}
		if err := <-h.result; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

// Each event arrives when it is yielded. The next event is yielded only after
// the client has received the one before.
func TestServeFlushesEachEvent(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		next := make(chan sse.Event)
		h := serve(nil, func(r *http.Request) events {
			return func(yield func(sse.Event, error) bool) {
				for ev := range next {
					if !yield(ev, nil) {
						return
					}
				}
			}
		})
		srv := memhttp.New(t, h, nil)
		body := bufio.NewReader(get(t, srv, h2).Body)
		for i := range 3 {
			want := sse.Event{Data: fmt.Sprint(i)}
			next <- want
			for ev, err := range sse.Decode(body, nil) {
				if ev != want || err != nil {
					t.Errorf("got %v, %v", ev, err)
				}
				break
			}
		}
		close(next)
		if rest, err := io.ReadAll(body); len(rest) > 0 || err != nil {
			t.Errorf("the end is %q, %v", rest, err)
		}
	})
}

func TestServeErrorBreaksTheResponse(t *testing.T) {
	boom := errors.New("secret")
	ends := map[string]struct {
		seq  func(yield func(sse.Event, error) bool)
		want error
	}{
		"an error of the sequence": {func(yield func(sse.Event, error) bool) {
			if yield(sse.Event{}, boom) {
				t.Error("the sequence was asked to go on after its error")
			}
		}, boom},
		"an event that breaks the framing": {func(yield func(sse.Event, error) bool) {
			if yield(sse.Event{ID: "\n"}, nil) {
				t.Error("the sequence was asked to go on after its error")
			}
		}, &sse.FieldError{Field: "ID", Reason: "contains a line end"}},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, h2 bool) {
				h := serve(nil, func(r *http.Request) events {
					return func(yield func(sse.Event, error) bool) {
						yield(sse.Event{Data: "before"}, nil)
						end.seq(yield)
					}
				})
				srv := memhttp.New(t, h, nil)
				body, err := io.ReadAll(get(t, srv, h2).Body)
				if err == nil {
					t.Error("the client takes it for a clean end")
				}
				if string(body) != "data: before\n\n" {
					t.Errorf("body = %q", body)
				}
				if err := <-h.result; err == nil || err.Error() != end.want.Error() {
					t.Errorf("Serve = %v, want %v", err, end.want)
				}
			})
		})
	}
}

func TestServeOnErrorSendsOneLastEvent(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		boom := errors.New("secret")
		opts := &sse.ServeOptions{OnError: func(err error) (sse.Event, bool) {
			if err != boom {
				t.Errorf("OnError got %v", err)
			}
			return sse.Event{Type: "failed", Data: "sorry"}, true
		}}
		h := serve(opts, func(r *http.Request) events {
			return func(yield func(sse.Event, error) bool) { yield(sse.Event{}, boom) }
		})
		srv := memhttp.New(t, h, nil)
		body, err := io.ReadAll(get(t, srv, h2).Body)
		if string(body) != "event: failed\ndata: sorry\n\n" || err != nil {
			t.Errorf("%q, %v", body, err)
		}
		if err := <-h.result; err != boom {
			t.Errorf("Serve = %v", err)
		}
	})
}

func TestServeOnErrorMayBreakTheResponse(t *testing.T) {
	for name, onError := range map[string]func(error) (sse.Event, bool){
		"false":            func(error) (sse.Event, bool) { return sse.Event{Data: "unused"}, false },
		"an invalid event": func(error) (sse.Event, bool) { return sse.Event{ID: "\n"}, true },
	} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, h2 bool) {
				h := serve(&sse.ServeOptions{OnError: onError}, func(r *http.Request) events {
					return func(yield func(sse.Event, error) bool) { yield(sse.Event{}, &sse.GapError{Missed: 1}) }
				})
				srv := memhttp.New(t, h, nil)
				body, err := io.ReadAll(get(t, srv, h2).Body)
				if len(body) > 0 || err == nil {
					t.Errorf("%q, %v", body, err)
				}
				if _, ok := errors.AsType[*sse.GapError](<-h.result); !ok {
					t.Error("the result is not the gap")
				}
			})
		})
	}
}

func TestServeTellsAGapAndGoesOn(t *testing.T) {
	gap := fmt.Errorf("wrapped: %w", &sse.GapError{Reason: "lag", Missed: 39})
	replace := func(error) (sse.Event, bool) { return sse.Event{Data: "gap"}, true }
	silent := func(error) (sse.Event, bool) { return sse.Event{}, true }
	tests := map[string]struct {
		onError func(error) (sse.Event, bool)
		want    string
	}{
		"by default":            {nil, "data: 1\n\nevent: tidings.gap\ndata: {\"reason\":\"lag\",\"missed\":39}\n\ndata: 2\n\n"},
		"OnError replaces it":   {replace, "data: 1\n\ndata: gap\n\ndata: 2\n\n"},
		"OnError may send none": {silent, "data: 1\n\ndata: 2\n\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			err := sse.Serve(rec, httptest.NewRequest("GET", "/", nil), func(yield func(sse.Event, error) bool) {
				_ = yield(sse.Event{Data: "1"}, nil) && yield(sse.Event{}, gap) && yield(sse.Event{Data: "2"}, nil)
			}, &sse.ServeOptions{OnError: tt.onError})
			if got := rec.Body.String(); got != tt.want || err != nil {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestServePanicReachesNetHTTPAfterCleanUp(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		cleaned, recovered := false, any(nil)
		srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// A middleware that recovers, which could make the response look
			// complete.
			defer func() { recovered = recover() }()
			sse.Serve(w, r, func(yield func(sse.Event, error) bool) {
				defer func() { cleaned = true }()
				yield(sse.Event{Data: "before"}, nil)
				panic("at the disco")
			}, nil)
		}), nil)
		body, err := io.ReadAll(get(t, srv, h2).Body)
		if string(body) != "data: before\n\n" || err == nil {
			t.Errorf("%q, %v; want a broken response", body, err)
		}
		synctest.Wait()
		if recovered != "at the disco" || !cleaned {
			t.Errorf("recovered %v, cleaned up: %v", recovered, cleaned)
		}
	})
}

func TestServeRefusesANilSequence(t *testing.T) {
	rec := httptest.NewRecorder()
	if err := sse.Serve(rec, httptest.NewRequest("GET", "/", nil), nil, nil); err == nil || rec.Code != 500 {
		t.Errorf("%v, status %d", err, rec.Code)
	}
}

func TestLastEventID(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	if got := sse.LastEventID(r); got != "" {
		t.Errorf("without the header: %q", got)
	}
	r.Header.Set("last-event-id", "42")
	if got := sse.LastEventID(r); got != "42" {
		t.Errorf("got %q", got)
	}
}

func TestServeRefusesAnInvalidKeepAlive(t *testing.T) {
	rec := httptest.NewRecorder()
	err := sse.Serve(rec, httptest.NewRequest("GET", "/", nil), of(), &sse.ServeOptions{KeepAliveEvent: sse.Event{ID: "\n"}})
	if _, ok := errors.AsType[*sse.FieldError](err); !ok || rec.Code != 500 {
		t.Errorf("%v, status %d", err, rec.Code)
	}
}
