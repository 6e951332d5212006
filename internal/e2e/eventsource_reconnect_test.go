package e2e_test

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"example.com/tidings/sse"

	"github.com/chromedp/chromedp"
)

// soon is a short reconnection delay for tests. Chromium's default, without a retry
// field, is 3 s.
const soon = 100 * time.Millisecond

// After any end of a stream, the browser opens it again with the id of the last event.
// In between, the page sees only an error event.
func TestEventSourceReconnects(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		end  func(*testing.T, *stream)
	}{
		{"after a clean end", func(t *testing.T, st *stream) { st.end(t) }},
		{"after an error", func(t *testing.T, st *stream) { st.fail(t, errors.New("the secret reason")) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			src := newSource()
			srv := serve(t, withPage(src.handler(nil)))
			tb := newTab(t)
			tb.do(t, chromedp.Navigate(srv.URL))
			tb.follow(t, "es", "/events")

			st := src.next(t)
			if got, sent := st.request.Header["Last-Event-Id"]; sent {
				t.Errorf("the first request has a Last-Event-ID: %q", got)
			}
			id := `7-"é"/日本 x` // comes back as it was sent, in UTF-8
			st.send(t, sse.Event{ID: "6", Data: "one"}, sse.Event{ID: id, Data: "two"}, sse.Event{Data: "three", Retry: soon})
			tb.log(t, "es", 4) // Chromium may drop what it has not dispatched when the connection breaks off
			tc.end(t, st)

			st = src.next(t)
			if got := st.lastEventID(); got != id {
				t.Errorf("Last-Event-ID: %q, want %q", got, id)
			}
			st.send(t, sse.Event{Data: "four"}) // the id stays in force across connections
			tb.wantLog(t, "es",
				opened,
				dispatched{Type: "message", Data: "one", ID: "6"},
				dispatched{Type: "message", Data: "two", ID: id},
				dispatched{Type: "message", Data: "three", ID: id},
				reconnecting,
				opened,
				dispatched{Type: "message", Data: "four", ID: id},
			)
		})
	}
}

// When the server restarts on the same port, the browser reconnects by itself with the
// id of the last event.
func TestEventSourceReconnectsToARestartedServer(t *testing.T) {
	t.Parallel()
	src := newSource()
	first := serve(t, withPage(src.handler(nil)))
	tb := newTab(t)
	tb.do(t, chromedp.Navigate(first.URL))
	tb.follow(t, "es", "/events")
	src.next(t).send(t, sse.Event{Retry: soon}, sse.Event{ID: "41", Data: "before"}, sse.Event{ID: "42", Data: "last"})
	tb.log(t, "es", 3)

	first.stop()
	tb.until(t, `es.log.filter(e => e.type === "(error)").length >= 2`) // at least one attempt has failed
	if got := eval[int](t, tb, "es.readyState"); got != stateConnecting {
		t.Errorf("readyState is %d while the server is down, want %d", got, stateConnecting)
	}

	src = newSource()
	serveAt(t, first.addr, src.handler(nil))
	st := src.next(t)
	if got := st.lastEventID(); got != "42" {
		t.Errorf("Last-Event-ID: %q, want 42", got)
	}
	st.send(t, sse.Event{ID: "43", Data: "after"})
	tb.until(t, `es.log.at(-1).data === "after"`)
	log := eval[[]dispatched](t, tb, "es.log")
	log = slices.DeleteFunc(log, func(e dispatched) bool { return e == reconnecting })
	want := []dispatched{
		opened,
		{Type: "message", Data: "before", ID: "41"}, {Type: "message", Data: "last", ID: "42"},
		opened,
		{Type: "message", Data: "after", ID: "43"},
	}
	if !slices.Equal(log, want) {
		t.Errorf("without errors, got %s\nwant %s", js(log), js(want))
	}
}

// A retry field, with or without data beside it, sets the delay before the browser
// reconnects. It stays in force.
func TestEventSourceObeysRetry(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		send sse.Event
	}{
		{"alone", sse.Event{Retry: soon}},
		{"with data", sse.Event{Retry: soon, Data: "x"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			src := newSource()
			srv := serve(t, withPage(src.handler(nil)))
			tb := newTab(t)
			tb.do(t, chromedp.Navigate(srv.URL))
			tb.follow(t, "es", "/events")

			st := src.next(t)
			st.send(t, tc.send)
			// Ten reconnections take 1 s with the retry, and 30 s without.
			const times = 10
			start := time.Now()
			for range times {
				st.end(t)
				st = src.next(t)
			}
			if took := time.Since(start); took < times*soon {
				t.Errorf("%d reconnections took %v, want %v at least", times, took, times*soon)
			} else if took > times*2*time.Second {
				t.Errorf("%d reconnections took %v: the retry of %v is not obeyed", times, took, soon)
			}
		})
	}
}

// 204 makes an EventSource stop for good. The test measures time with a second
// EventSource, the clock, which reconnects again and again with the same delay.
func TestEventSourceStopsOn204(t *testing.T) {
	t.Parallel()
	stopping, clock := newSource(), newSource()
	requests := make(chan string, 100)
	stopping.refuse = func(r *http.Request) error {
		id := sse.LastEventID(r)
		requests <- id
		if id == "last" {
			return &sse.StatusError{Status: http.StatusNoContent}
		}
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("GET /events", stopping.handler(nil))
	mux.Handle("GET /clock", clock.handler(nil))
	srv := serve(t, withPage(mux))
	tb := newTab(t)
	tb.do(t, chromedp.Navigate(srv.URL))
	tb.follow(t, "es", "/events")

	st := stopping.next(t)
	st.send(t, sse.Event{ID: "last", Data: "goodbye", Retry: soon})
	st.end(t)
	tb.wantLog(t, "es",
		opened,
		dispatched{Type: "message", Data: "goodbye", ID: "last"},
		reconnecting,
		closed,
	)
	if got := eval[int](t, tb, "es.readyState"); got != stateClosed {
		t.Errorf("readyState is %d, want %d", got, stateClosed)
	}

	tb.follow(t, "ticking", "/clock")
	for range 10 {
		st := clock.next(t)
		st.send(t, sse.Event{Retry: soon})
		st.end(t)
	}
	if got := len(requests); got != 2 {
		t.Errorf("%d requests, want 2: one for the stream, and one answered with 204", got)
	}
}

// Any status other than 200 stops an EventSource for good. So the function of a Handler
// should refuse a request only if it can never succeed.
func TestEventSourceStopsOnARefusal(t *testing.T) {
	t.Parallel()
	src := newSource()
	src.refuse = func(*http.Request) error {
		return &sse.StatusError{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"1"}}}
	}
	srv := serve(t, withPage(src.handler(nil)))
	tb := newTab(t)
	tb.do(t, chromedp.Navigate(srv.URL))
	tb.follow(t, "es", "/events")
	tb.wantLog(t, "es", closed)
	if got := eval[int](t, tb, "es.readyState"); got != stateClosed {
		t.Errorf("readyState is %d, want %d", got, stateClosed)
	}
}

// The iterator ends when a page closes its EventSource, and when its tab is closed.
func TestEventSourceClosedEndsTheIterator(t *testing.T) {
	t.Parallel()
	src := newSource()
	srv := serve(t, withPage(src.handler(nil)))
	tb := newTab(t)
	tb.do(t, chromedp.Navigate(srv.URL))

	tb.follow(t, "es", "/events")
	st := src.next(t)
	tb.wantLog(t, "es", opened)
	eval[chromedp.Void](t, tb, "es.close()")
	st.wait(t)

	tb.follow(t, "es", "/events")
	st = src.next(t)
	tb.wantLog(t, "es", opened)
	if err := chromedp.Cancel(tb.ctx); err != nil {
		t.Fatal(err)
	}
	st.wait(t)
}

// After the user has left a page, Chromium may keep it in the back/forward cache for a
// minute, with its stream open. If the page closes its EventSource on pagehide, the
// iterator ends at once.
func TestPagehideEndsTheIterator(t *testing.T) {
	t.Parallel()
	src := newSource()
	srv := serve(t, withPage(src.handler(nil)))
	tb := newTab(t)
	tb.do(t, chromedp.Navigate(srv.URL))
	tb.follow(t, "es", "/events")
	st := src.next(t)
	tb.wantLog(t, "es", opened)
	eval[chromedp.Void](t, tb, `addEventListener("pagehide", () => es.close())`)
	tb.do(t, chromedp.Navigate("about:blank"))
	st.wait(t)
}

// The page sees a gap in the sequence as an event of its own type. The stream continues
// after it. The last event ID is still the one before the gap.
func TestEventSourceHearsOfAGap(t *testing.T) {
	t.Parallel()
	src := newSource()
	srv := serve(t, withPage(src.handler(nil)))
	tb := newTab(t)
	tb.do(t, chromedp.Navigate(srv.URL))
	tb.follow(t, "es", "/events", sse.GapEventType)
	st := src.next(t)
	st.send(t, sse.Event{ID: "1", Data: "one"})
	st.yield(t, item{err: &sse.GapError{Reason: "lag", Missed: 3}})
	st.send(t, sse.Event{ID: "5", Data: "five"})
	tb.wantLog(t, "es",
		opened,
		dispatched{Type: "message", Data: "one", ID: "1"},
		dispatched{Type: sse.GapEventType, Data: `{"reason":"lag","missed":3}`, ID: "1"},
		dispatched{Type: "message", Data: "five", ID: "5"},
	)
}
