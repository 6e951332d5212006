package server

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"

	"example.com/tidings/broadcast"
	"example.com/tidings/sse"
)

// ErrFeedClosed is what Publish of a [Feed] returns, or wraps, after Close.
var ErrFeedClosed = errors.New("server: the feed is closed")

// A Feed takes events and hands them to its subscribers. Its methods may be
// called concurrently.
type Feed interface {
	// Publish adds an event. When it returns nil every present subscriber will
	// get the event, or a *sse.GapError where it would be.
	Publish(ctx context.Context, e sse.Event) error

	// Subscribe returns the sequence of what is published after it was called,
	// and before that, if the feed retains events, what followed the event
	// with the given id, which is untrusted input and may be empty. The
	// sequence is ranged once or not at all, and is released when it ends or
	// ctx is done. Its errors are those of a sequence that sse.Serve takes.
	// After Close it ends at once.
	Subscribe(ctx context.Context, lastEventID string) (iter.Seq2[sse.Event, error], error)

	// Close refuses further events, and lets each sequence end after what was
	// published. It does not wait for that. Closing again does nothing.
	Close()
}

// retainedBytes bounds the data that a feed in memory retains.
const retainedBytes = 64 << 20

// memory is a Feed in memory. Its events have no ids: a subscriber gets what is
// published while it is connected.
type memory struct {
	ch       *broadcast.Channel[*entry]
	maxCount int
	maxBytes int

	mu     sync.Mutex // held while sending
	closed bool
	kept   []*entry // what ch retains and is not yet let go, the oldest first
	bytes  int      // of their data
}

// An entry is an event that may be let go while the channel still has a place
// for it.
type entry struct{ event atomic.Pointer[sse.Event] }

// NewMemory returns a feed in memory. It keeps the last buffer events, at least
// 1, for subscribers that are slow, and fewer when they are large: 64 MiB of
// data in all. A subscriber that falls further behind gets a *sse.GapError with
// the number it missed, and goes on with the oldest kept.
func NewMemory(buffer int) Feed { return newMemory(buffer, retainedBytes) }

func newMemory(buffer, maxBytes int) *memory {
	return &memory{ch: broadcast.New[*entry](buffer), maxCount: buffer, maxBytes: maxBytes}
}

func (m *memory) Publish(_ context.Context, e sse.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrFeedClosed
	}
	added := new(entry)
	added.event.Store(&e)
	m.kept = append(m.kept, added)
	m.bytes += len(e.Data)
	for len(m.kept) > m.maxCount || m.bytes > m.maxBytes && len(m.kept) > 1 {
		m.letGo()
	}
	if m.ch.Send(added) == 0 {
		for len(m.kept) > 0 { // nobody is left who could be behind
			m.letGo()
		}
	}
	return nil
}

// letGo releases the oldest event that is kept.
func (m *memory) letGo() {
	m.bytes -= len(m.kept[0].event.Swap(nil).Data)
	m.kept[0] = nil
	m.kept = m.kept[1:]
}

func (m *memory) Subscribe(ctx context.Context, _ string) (iter.Seq2[sse.Event, error], error) {
	received := m.ch.Subscribe(ctx).All()
	return func(yield func(sse.Event, error) bool) {
		var missed uint64 // since the last event
		tell := func() bool {
			gap := &sse.GapError{Reason: "lag", Missed: missed}
			missed = 0
			return gap.Missed == 0 || yield(sse.Event{}, gap)
		}
		for e, err := range received {
			if gap, ok := errors.AsType[*sse.GapError](err); ok {
				missed += gap.Missed
				continue
			}
			event := e.event.Load()
			if event == nil {
				missed++
				continue
			}
			if !tell() || !yield(*event, nil) {
				return
			}
		}
		tell()
	}, nil
}

func (m *memory) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.ch.Close()
}
