package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/sse"
)

// A receiver reads an event stream.
type receiver struct {
	events chan sse.Event
	done   chan struct{} // closed at the end
	err    error         // nil for a clean end; valid when done is closed
}

// receive starts to read r. The caller must make sure that r ends.
func receive(r io.Reader) *receiver {
	rec := &receiver{events: make(chan sse.Event, 1000), done: make(chan struct{})}
	go func() {
		defer close(rec.done)
		for ev, err := range sse.Decode(r, nil) {
			if err != nil {
				rec.err = err
				return
			}
			rec.events <- ev
		}
	}()
	return rec
}

// next waits for the next event, or returns false at the end of the stream.
func (r *receiver) next(t *testing.T) (ev sse.Event, ok bool) {
	t.Helper()
	select {
	case ev = <-r.events:
		return ev, true
	case <-r.done:
	case <-time.After(patience):
		t.Fatal("neither an event nor the end has arrived")
	}
	select {
	case ev = <-r.events: // just before the end
		return ev, true
	default:
		return ev, false
	}
}

// want waits for the next event and compares it.
func (r *receiver) want(t *testing.T, want sse.Event) {
	t.Helper()
	if got, ok := r.next(t); !ok {
		t.Fatalf("the stream ends (%v), want %+v", r.err, want)
	} else if got != want {
		t.Fatalf("received %+v, want %+v", got, want)
	}
}

// open waits for the first event of a hub's stream, and returns its position.
func (r *receiver) open(t *testing.T) eventlog.Position {
	t.Helper()
	ev, ok := r.next(t)
	at, err := eventlog.ParsePosition(ev.ID)
	if !ok || err != nil || ev.Type != hub.OpenEventType {
		t.Fatalf("the stream begins with %+v (%v), want %s", ev, err, hub.OpenEventType)
	}
	return at
}

// end waits for the end of the stream, and returns its error. No more events may come
// before.
func (r *receiver) end(t *testing.T) error {
	t.Helper()
	if ev, ok := r.next(t); ok {
		t.Fatalf("received %+v, want the end", ev)
	}
	return r.err
}

// A get reads the response of a GET request as an event stream. It has its own
// connection, and runs until the test ends or calls leave.
type get struct {
	*receiver
	leave func()
}

// subscribe requests an event stream. It does not wait for the response.
func subscribe(t *testing.T, url string) *get {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	r, w := io.Pipe()
	go func() {
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			w.CloseWithError(err)
			return
		}
		req.Header.Set("Accept", "text/event-stream")
		resp, err := transport.RoundTrip(req)
		if err != nil {
			w.CloseWithError(err)
			return
		}
		defer resp.Body.Close()
		if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || got != "text/event-stream" {
			w.CloseWithError(fmt.Errorf("%s, Content-Type %q", resp.Status, got))
			return
		}
		_, err = io.Copy(w, resp.Body)
		w.CloseWithError(err) // io.EOF when nil
	}()
	return &get{receive(r), cancel}
}
