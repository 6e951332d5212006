package broadcast

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"

	"example.com/tidings/sse"
)

// ErrClosed is what [Receiver.Receive] returns when the channel is closed
// and all that was retained has been received, and when the receiver has been
// closed.
var ErrClosed = errors.New("broadcast: closed")

// A Receiver gets what is sent to a [Channel]. [Channel.Subscribe] makes it. One
// goroutine uses it at a time, except for [Receiver.Close], which any may call
// at any time.
type Receiver[T any] struct {
	c      *Channel[T]
	ctx    context.Context
	stop   func() bool   // releases the AfterFunc of ctx; nil if there is none
	tokens chan struct{} // capacity 1; see waitlist.go
	ended  atomic.Bool   // changed under c.mu
	next   uint64        // the number of the next value to receive

	// Guarded by c.wait.mu.
	waiting       bool   // on the list
	since         uint64 // next when it went on the list
	before, after *Receiver[T]
}

// All returns the sequence of what is received. It waits for values and ends
// when the channel is closed and all that was retained has been received, or
// when the receiver is closed, in both cases without an error. It also ends
// without an error when the receiver's context is done, then at once, with what
// is retained not received; the context's cause is left to its owner.
//
// The only error is a [*sse.GapError], with a zero T, where the receiver fell
// behind; the sequence goes on after it.
//
// When the loop ends, for whatever reason, a panic included, the receiver is
// closed. So it is ranged once: a second loop ends at once. What
// [Receiver.Receive] has returned before, the loop does not get.
func (r *Receiver[T]) All() iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		defer r.Close()
		for {
			// Without a context of its own, a wait here is a plain channel
			// receive; the end of r.ctx is told by a token.
			v, missed, err := r.receive(context.Background())
			switch {
			case err != nil:
				return
			case missed > 0:
				err = &sse.GapError{Reason: sse.GapLag, Missed: missed}
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
//   - the cause of the receiver's context, see [context.Cause], when that is
//     done;
//   - the cause of ctx when that is done: nothing is lost, the next Receive
//     goes on;
//   - a [*sse.GapError] when the receiver fell behind: the next Receive goes on
//     with the oldest value that is then retained;
//   - [ErrClosed] when the channel is closed and all that was retained has been
//     received, or when the receiver is closed.
//
// A context that is done comes before a value that is there.
func (r *Receiver[T]) Receive(ctx context.Context) (T, error) {
	v, missed, err := r.receive(ctx)
	if missed > 0 {
		err = &sse.GapError{Reason: sse.GapLag, Missed: missed}
	}
	return v, err
}

// Close ends the receiver: it is no longer counted, a waiting Receive or All
// returns, and nothing more is received. What was retained for it is not
// received. Closing again does nothing.
func (r *Receiver[T]) Close() {
	r.end()
	if r.stop != nil {
		r.stop()
	}
}

// receive is Receive, with a gap as a number: missed is not 0 for a gap, and
// then there is neither a value nor an error.
func (r *Receiver[T]) receive(ctx context.Context) (v T, missed uint64, err error) {
	for {
		if r.ctx.Err() != nil {
			r.Close() // now, not when the AfterFunc gets to it
			return v, 0, context.Cause(r.ctx)
		}
		if ctx.Err() != nil {
			r.c.wait.remove(r) // still there when the token was a stale one
			return v, 0, context.Cause(ctx)
		}
		sent, closed := r.c.sent()
		switch {
		case r.ended.Load():
			r.c.wait.remove(r)
			if r.ctx.Err() != nil { // since the look above
				return v, 0, context.Cause(r.ctx)
			}
			return v, 0, ErrClosed
		case sent != r.next:
			v, missed, ok := r.c.read(r.next)
			if !ok {
				continue // the receiver has ended since the look above
			}
			r.next += max(missed, 1)
			return v, missed, nil
		case closed:
			r.Close()
			return v, 0, ErrClosed
		}
		if !r.c.await(r) {
			continue
		}
		done := ctx.Done()
		if done == nil {
			<-r.tokens
			continue
		}
		select {
		case <-r.tokens:
		case <-done:
			r.c.wait.remove(r)
			return v, 0, context.Cause(ctx)
		}
	}
}

// end ends the receiver and makes it look. It may run before Subscribe has
// returned, so it must not touch r.stop.
func (r *Receiver[T]) end() {
	r.c.drop(r)
	r.c.wait.remove(r)
	r.token()
}

// token makes the receiver look again if it waits, or is about to.
func (r *Receiver[T]) token() {
	select {
	case r.tokens <- struct{}{}:
	default:
	}
}
