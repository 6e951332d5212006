package e2e_test

import (
	"io"
	"testing"
	"time"

	"example.com/tidings/sse"
)

// A receiver reads an event stream as it comes.
type receiver struct {
	events chan sse.Event
	done   chan struct{} // closed at the end
	err    error         // nil for a clean end; valid when done is closed
}

// receive begins to read r, which the caller sees to the end of.
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

// want waits for the next event and compares it.
func (r *receiver) want(t *testing.T, want sse.Event) {
	t.Helper()
	select {
	case got := <-r.events:
		if got != want {
			t.Fatalf("received %+v, want %+v", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("%+v has not arrived", want)
	}
}

// end waits for the end of the stream, which must not come after more events,
// and returns its error.
func (r *receiver) end(t *testing.T) error {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(patience):
		t.Fatal("the stream has not ended")
	}
	select {
	case ev := <-r.events:
		t.Fatalf("received %+v, want the end", ev)
	default:
	}
	return r.err
}
