package server

import (
	"context"
	"errors"
	"iter"
	"sync"

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

// memory is a Feed in memory. Its events have no ids: a subscriber gets what is
// published while it is connected.
type memory struct {
	mu     sync.RWMutex // held for reading while sending
	closed bool
	ch     *broadcast.Channel[sse.Event]
}

// NewMemory returns a feed in memory. It keeps the last buffer events, at least
// 1, for subscribers that are slow; one that falls further behind gets a
// *sse.GapError with the number it missed, and goes on with the oldest kept.
func NewMemory(buffer int) Feed {
	return &memory{ch: broadcast.New[sse.Event](buffer)}
}

func (m *memory) Publish(_ context.Context, e sse.Event) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return ErrFeedClosed
	}
	m.ch.Send(e)
	return nil
}

func (m *memory) Subscribe(ctx context.Context, _ string) (iter.Seq2[sse.Event, error], error) {
	return m.ch.Subscribe(ctx).All(), nil
}

func (m *memory) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.ch.Close()
}
