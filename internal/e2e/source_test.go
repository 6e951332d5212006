package e2e_test

import (
	"context"
	"iter"
	"net/http"
	"testing"
	"time"

	"example.com/tidings/sse"
)

// A source is the test's side of a handler. The test takes each stream that a client
// opens, and sends its events.
type source struct {
	opened chan *stream

	// refuse, if set, is called first. Its error refuses the stream.
	refuse func(*http.Request) error
}

func newSource() *source {
	return &source{opened: make(chan *stream, 100)}
}

// handler returns a handler whose streams the test writes.
func (s *source) handler(opts *sse.ServeOptions) http.Handler {
	return sse.Handler(func(r *http.Request) (iter.Seq2[sse.Event, error], error) {
		if s.refuse != nil {
			if err := s.refuse(r); err != nil {
				return nil, err
			}
		}
		st := &stream{
			request: r.Clone(context.WithoutCancel(r.Context())),
			items:   make(chan item),
			ranged:  make(chan struct{}),
			ended:   make(chan struct{}),
		}
		s.opened <- st
		return func(yield func(sse.Event, error) bool) {
			close(st.ranged)
			defer close(st.ended)
			for {
				select {
				case <-r.Context().Done():
					return
				case it, ok := <-st.items:
					if !ok || !yield(it.ev, it.err) {
						return
					}
				}
			}
		}, nil
	}, opts)
}

// next returns the next stream that a client opens.
func (s *source) next(t *testing.T) *stream {
	t.Helper()
	select {
	case st := <-s.opened:
		return st
	case <-time.After(patience):
		t.Fatal("no client has opened a stream")
		return nil
	}
}

// A stream is one response of a source.
type stream struct {
	request *http.Request
	items   chan item
	ranged  chan struct{} // closed when the iterator starts
	ended   chan struct{} // closed when the iterator has returned
}

type item struct {
	ev  sse.Event
	err error
}

// lastEventID returns the id after which the client wants to continue.
func (st *stream) lastEventID() string { return sse.LastEventID(st.request) }

// send makes the sequence yield the events. It returns when all but the last one are
// flushed.
func (st *stream) send(t *testing.T, events ...sse.Event) {
	t.Helper()
	for _, ev := range events {
		st.yield(t, item{ev: ev})
	}
}

// fail makes the sequence yield an error.
func (st *stream) fail(t *testing.T, err error) {
	t.Helper()
	st.yield(t, item{err: err})
	st.wait(t)
}

// end makes the sequence return.
func (st *stream) end(t *testing.T) {
	t.Helper()
	close(st.items)
	st.wait(t)
}

func (st *stream) yield(t *testing.T, it item) {
	t.Helper()
	select {
	case st.items <- it:
	case <-st.ended:
		t.Fatal("the stream has ended before all events were sent")
	case <-time.After(patience):
		t.Fatal("the stream takes no event")
	}
}

// wait waits until the iterator has returned.
func (st *stream) wait(t *testing.T) {
	t.Helper()
	select {
	case <-st.ended:
	case <-time.After(patience):
		t.Fatal("the iterator has not returned")
	}
}
