package e2e_test

import (
	_ "embed"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/tidings/sse"

	"github.com/chromedp/chromedp"
)

//go:embed testdata/eventsource.html
var eventSourcePage string

// The values of readyState (WHATWG HTML 9.2.2).
const (
	stateConnecting = 0
	stateOpen       = 1
	stateClosed     = 2
)

// A dispatched is an event that a page has received.
type dispatched struct {
	Type       string `json:"type"`
	Data       string `json:"data"`
	ID         string `json:"id"`
	ReadyState int    `json:"readyState"` // only for an error
}

var (
	opened       = dispatched{Type: "(open)"}
	reconnecting = dispatched{Type: "(error)", ReadyState: stateConnecting}
	closed       = dispatched{Type: "(error)", ReadyState: stateClosed}
)

// withPage returns a handler that serves the page at / and calls h for other paths.
func withPage(h http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, eventSourcePage)
	})
	mux.Handle("/", h)
	return mux
}

// follow opens an EventSource in the page and stores it in a variable.
func (tb *tab) follow(t *testing.T, variable, url string, types ...string) {
	t.Helper()
	eval[chromedp.Void](t, tb, `void (window.%s = follow(%s, %s))`, variable, js(url), js(append([]string{}, types...)))
}

// js returns a value as a JavaScript literal.
func js(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// log waits until an EventSource has dispatched at least n events, and returns them
// all.
func (tb *tab) log(t *testing.T, variable string, n int) []dispatched {
	t.Helper()
	tb.until(t, `%s.log.length >= %d`, variable, n)
	return eval[[]dispatched](t, tb, `%s.log`, variable)
}

// wantLog waits until an EventSource has dispatched as many events as want has, and
// compares them.
func (tb *tab) wantLog(t *testing.T, variable string, want ...dispatched) {
	t.Helper()
	if got := tb.log(t, variable, len(want)); !slices.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", variable, js(got), js(want))
	}
}

// The page gets exactly the events that the sequence yields. All cases use one stream,
// in this order.
func TestEventSourceReceives(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789abcdef", 1<<16)
	cases := []struct {
		rule string
		send sse.Event
		want *dispatched // nil if nothing is dispatched
	}{
		{"no type is message", sse.Event{Data: "plain"}, &dispatched{Type: "message", Data: "plain"}},
		{"a type is the event's name", sse.Event{Type: "greeting", Data: "hello"}, &dispatched{Type: "greeting", Data: "hello"}},
		{"a type of several words", sse.Event{Type: "two words: ü", Data: "x"}, &dispatched{Type: "two words: ü", Data: "x"}},
		{"a type without data is dispatched", sse.Event{Type: "greeting"}, &dispatched{Type: "greeting"}},
		{"LF separates lines", sse.Event{Data: "a\nb"}, &dispatched{Type: "message", Data: "a\nb"}},
		{"CRLF separates lines", sse.Event{Data: "a\r\nb"}, &dispatched{Type: "message", Data: "a\nb"}},
		{"CR separates lines", sse.Event{Data: "a\rb"}, &dispatched{Type: "message", Data: "a\nb"}},
		{"empty lines stay", sse.Event{Data: "\n\na\n\n\nb\n\n"}, &dispatched{Type: "message", Data: "\n\na\n\n\nb\n\n"}},
		{"CR and LF mixed", sse.Event{Data: "a\n\rb\r\r\nc\r"}, &dispatched{Type: "message", Data: "a\n\nb\n\nc\n"}},
		{"only a line end", sse.Event{Data: "\n"}, &dispatched{Type: "message", Data: "\n"}},
		{"a line that looks like a field", sse.Event{Data: "x\nevent: forged\nid: 9\n\ndata: y"}, &dispatched{Type: "message", Data: "x\nevent: forged\nid: 9\n\ndata: y"}},
		{"a leading space stays", sse.Event{Data: "  two"}, &dispatched{Type: "message", Data: "  two"}},
		{"only a space", sse.Event{Data: " "}, &dispatched{Type: "message", Data: " "}},
		{"other line separators are text", sse.Event{Data: "\u2028 \u2029 \u0085 \v \f"}, &dispatched{Type: "message", Data: "\u2028 \u2029 \u0085 \v \f"}},
		{"quotes and markup", sse.Event{Data: `"'` + "`" + `\n</script><b>&amp;`}, &dispatched{Type: "message", Data: `"'` + "`" + `\n</script><b>&amp;`}},
		{"beyond the first plane", sse.Event{Data: "👩‍👧 𝄞 日本"}, &dispatched{Type: "message", Data: "👩‍👧 𝄞 日本"}},
		{"NUL is text in data", sse.Event{Data: "a\x00b"}, &dispatched{Type: "message", Data: "a\x00b"}},
		{"a byte order mark in data", sse.Event{Data: "\uFEFFx"}, &dispatched{Type: "message", Data: "\uFEFFx"}},
		{"invalid UTF-8 is replaced", sse.Event{Data: "a\xffb\xe2\x82c"}, &dispatched{Type: "message", Data: "a\uFFFDb\uFFFDc"}},
		{"a comment is not seen", sse.Event{Comment: "data: hidden\n\ndata: too"}, nil},
		{"a comment beside data is not seen", sse.Event{Comment: "hidden", Data: "shown"}, &dispatched{Type: "message", Data: "shown"}},
		{"a retry is not dispatched", sse.Event{Retry: time.Second}, nil},
		{"a long event", sse.Event{Data: long}, &dispatched{Type: "message", Data: long}},
		{"an id", sse.Event{ID: "1", Data: "x"}, &dispatched{Type: "message", Data: "x", ID: "1"}},
		{"an id stays in force", sse.Event{Data: "y"}, &dispatched{Type: "message", Data: "y", ID: "1"}},
		{"an id alone is not dispatched", sse.Event{ID: `a: "é" 日本`}, nil},
		{"an id alone stays in force", sse.Event{Data: "z"}, &dispatched{Type: "message", Data: "z", ID: `a: "é" 日本`}},
	}

	src := newSource()
	srv := serve(t, withPage(src.handler(nil)))
	tb := newTab(t)
	tb.do(t, chromedp.Navigate(srv.URL))
	tb.follow(t, "es", "/events", "greeting", "two words: ü")
	st := src.next(t)
	if got := st.request.Header.Get("Accept"); got != "text/event-stream" {
		t.Errorf("Accept: %q", got)
	}
	rules, want := []string{"a stream without events opens"}, []dispatched{opened}
	tb.wantLog(t, "es", want...) // before any event is sent
	if got := eval[int](t, tb, "es.readyState"); got != stateOpen {
		t.Errorf("readyState is %d, want %d", got, stateOpen)
	}
	for _, tc := range cases {
		st.send(t, tc.send)
		if tc.want != nil {
			rules, want = append(rules, tc.rule), append(want, *tc.want)
		}
	}
	got := tb.log(t, "es", len(want))
	if len(got) != len(want) {
		t.Errorf("%d events are dispatched, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Errorf("%s:\n got %.300s\nwant %.300s", rules[i], js(got[i]), js(want[i]))
		}
	}
}

// The page does not see a keep-alive comment, and gets the events around it.
func TestEventSourceDoesNotSeeKeepAlives(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		keepAlive sse.Event
		line      string
	}{
		{"empty comment", sse.Event{}, ":\n"},
		{"comment with a text", sse.Event{Comment: "keep-alive"}, ": keep-alive\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			src := newSource()
			keepAlives := make(chan struct{}, 1000)
			srv := serve(t, withPage(watchWrites(src.handler(&sse.ServeOptions{
				KeepAlive: 20 * time.Millisecond, KeepAliveEvent: tc.keepAlive,
			}), tc.line, keepAlives)))
			tb := newTab(t)
			tb.do(t, chromedp.Navigate(srv.URL))
			tb.follow(t, "es", "/events")
			st := src.next(t)
			want := []dispatched{opened}
			for _, data := range []string{"one", "two"} {
				for range 3 {
					select {
					case <-keepAlives:
					case <-time.After(patience):
						t.Fatal("no keep-alive has been written")
					}
				}
				st.send(t, sse.Event{Data: data})
				want = append(want, dispatched{Type: "message", Data: data})
			}
			tb.wantLog(t, "es", want...)
		})
	}
}

// watchWrites sends on seen for each write of line.
func watchWrites(h http.Handler, line string, seen chan<- struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&writeWatcher{w, line, seen}, r)
	})
}

type writeWatcher struct {
	http.ResponseWriter
	line string
	seen chan<- struct{}
}

func (w *writeWatcher) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writeWatcher) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	if string(b) == w.line {
		select {
		case w.seen <- struct{}{}:
		default:
		}
	}
	return n, err
}
