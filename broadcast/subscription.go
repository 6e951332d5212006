package broadcast

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"

	"example.com/tidings/sse"
)

// ErrClosed is what [Subscription.Receive] returns when the channel is closed
// and all that was retained has been received, and when the subscription has
// been closed.
var ErrClosed = errors.New("broadcast: closed")

// gapReason is the Reason of this package's gaps.
const gapReason = "lag"

// A Subscription is one receiver of a [Channel], made by [Channel.Subscribe].
// It is used by one goroutine at a time, except for [Subscription.Close], which
// any may call at any time.
type Subscription[T any] struct {
	c      *Channel[T]
	ctx    context.Context
	stop   func() bool   // releases the AfterFunc of ctx; nil if there is none
	tokens chan struct{} // capacity 1; see waitlist.go
	ended  atomic.Bool   // changed under c.mu
	next   uint64        // the number of the next value to receive

	// Guarded by c.wait.mu.
	waiting       bool   // on the list
	since         uint64 // next when it went on the list
	before, after *Subscription[T]
}

// All returns the sequence of what is received. It waits for values and ends
// when the channel is closed and all that was retained has been received, or
// when the subscription is closed, in both cases without an error. It also ends
// without an error when the subscription's context is done, then at once, with
// what is retained not received; the context's cause is left to its owner.
//
// The only error is a [*sse.GapError], with a zero T, where the receiver fell
// behind; the sequence goes on after it.
//
// When the loop ends, for whatever reason, a panic included, the subscription
// is closed. So it is ranged once: a second loop ends at once. What
// [Subscription.Receive] has returned before, the loop does not get.
func (s *Subscription[T]) All() iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		defer s.Close()
		for {
			// Without a context of its own, a wait here is a plain channel
			// receive; the end of s.ctx is told by a token.
			v, missed, err := s.receive(context.Background())
			switch {
			case err != nil:
				return
			case missed > 0:
				err = &sse.GapError{Reason: gapReason, Missed: missed}
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

// Receive returns the next value, and waits for it when there is none. The
// error is, with a zero T,
//
//   - the cause of the subscription's context, see [context.Cause], when that
//     is done;
//   - the cause of ctx when that is done: nothing is lost, the next Receive
//     goes on;
//   - a [*sse.GapError] when the receiver fell behind: the next Receive goes on
//     with the oldest value that is then retained;
//   - [ErrClosed] when the channel is closed and all that was retained has been
//     received, or when the subscription is closed.
//
// A context that is done comes before a value that is there.
func (s *Subscription[T]) Receive(ctx context.Context) (T, error) {
	v, missed, err := s.receive(ctx)
	if missed > 0 {
		err = &sse.GapError{Reason: gapReason, Missed: missed}
	}
	return v, err
}

// Close ends the subscription: it is no longer counted, a waiting Receive or
// All returns, and nothing more is received. What was retained for it is not
// received. Closing again does nothing.
func (s *Subscription[T]) Close() {
	s.end()
	if s.stop != nil {
		s.stop()
	}
}

// receive is Receive, with a gap as a number: missed is not 0 for a gap, and
// then there is neither a value nor an error.
func (s *Subscription[T]) receive(ctx context.Context) (v T, missed uint64, err error) {
	for {
		if s.ctx.Err() != nil {
			s.Close() // now, not when the AfterFunc gets to it
			return v, 0, context.Cause(s.ctx)
		}
		if ctx.Err() != nil {
			s.c.wait.remove(s) // still there when the token was a stale one
			return v, 0, context.Cause(ctx)
		}
		sent, closed := s.c.sent()
		switch {
		case s.ended.Load():
			s.c.wait.remove(s)
			if s.ctx.Err() != nil { // since the look above
				return v, 0, context.Cause(s.ctx)
			}
			return v, 0, ErrClosed
		case sent != s.next:
			v, missed, ok := s.c.read(s.next)
			if !ok {
				continue // the subscription has ended since the look above
			}
			s.next += max(missed, 1)
			return v, missed, nil
		case closed:
			s.Close()
			return v, 0, ErrClosed
		}
		if !s.c.await(s) {
			continue
		}
		done := ctx.Done()
		if done == nil {
			<-s.tokens
			continue
		}
		select {
		case <-s.tokens:
		case <-done:
			s.c.wait.remove(s)
			return v, 0, context.Cause(ctx)
		}
	}
}

// end ends the subscription and makes its receiver look. It may run before
// Subscribe has returned, so it must not touch s.stop.
func (s *Subscription[T]) end() {
	s.c.drop(s)
	s.c.wait.remove(s)
	s.token()
}

// token makes a receiver that waits, or is about to, look again.
func (s *Subscription[T]) token() {
	select {
	case s.tokens <- struct{}{}:
	default:
	}
}
