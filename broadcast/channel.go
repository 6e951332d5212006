package broadcast

import (
	"context"
	"sync"
)

// A Channel sends every value to all of its receivers. Any number of goroutines
// may use it at once. It holds no goroutine while nothing is sent, and needs no
// Close to be collected as garbage.
//
// The ring is allocated by [New] and refers to a value until that is
// overwritten, or until the channel is closed and the last receiver has ended.
// All receivers get the same value: what it refers to must not be changed once
// it is sent.
type Channel[T any] struct {
	wakeWaiting func() // c.wake; made once, so that starting it allocates nothing

	mu        sync.Mutex
	ring      []T    // value number n is at n%len(ring)
	sent      uint64 // how many values have been put into the ring
	receivers int
	closed    bool
	waiting   waitList[T]
	waking    bool // a goroutine runs wake, or is about to
}

// New returns a channel that keeps the last capacity values for receivers that
// are behind. It panics when capacity is less than 1.
func New[T any](capacity int) *Channel[T] {
	if capacity < 1 {
		panic("broadcast: New with a capacity of less than 1")
	}
	c := &Channel[T]{ring: make([]T, capacity)}
	c.wakeWaiting = c.wake
	return c
}

// Send sends v to all receivers and returns how many there are: each will get
// v, miss it and be told so, or end before. Send never waits for a receiver,
// and what it does itself does not depend on their number: those that wait are
// woken by another goroutine. Without receivers, and after [Channel.Close], v
// is dropped and Send returns 0.
func (c *Channel[T]) Send(v T) (receivers int) {
	c.mu.Lock()
	receivers = c.receivers
	if receivers == 0 || c.closed {
		c.mu.Unlock()
		return 0
	}
	c.ring[c.sent%uint64(len(c.ring))] = v
	c.sent++
	start := c.mustWake()
	c.mu.Unlock()
	if start {
		go c.wakeWaiting()
	}
	return receivers
}

// Subscribe adds a receiver, for what is sent from now on: a value that is sent
// after Subscribe has returned is received, however late receiving begins.
//
// The subscription ends, and is no longer counted as a receiver, when ctx is
// done or [Subscription.Close] is called, whether or not anything was ever
// received from it. So a handler that answers a HEAD request, and never uses
// what it subscribed to, leaves nothing behind when the request has ended. A
// subscription whose ctx is never done must be closed or ranged to the end.
//
// When ctx is done already, or the channel is closed, the subscription has
// ended from the start.
func (c *Channel[T]) Subscribe(ctx context.Context) *Subscription[T] {
	s := &Subscription[T]{c: c, ctx: ctx, wake: make(chan struct{}, 1)}
	if ctx.Err() != nil {
		s.ended = true
		return s
	}
	c.mu.Lock()
	if c.closed {
		s.ended = true
		c.mu.Unlock()
		return s
	}
	s.next = c.sent
	c.receivers++
	c.mu.Unlock()
	s.stop = context.AfterFunc(ctx, s.end)
	return s
}

// Close ends the channel: receivers still get what is retained for them, then
// they end. Close does not wait for that. Closing again does nothing.
func (c *Channel[T]) Close() {
	c.mu.Lock()
	c.closed = true
	c.release()
	start := c.mustWake()
	c.mu.Unlock()
	if start {
		go c.wakeWaiting()
	}
}

// Receivers returns how many subscriptions have not ended. After
// [Channel.Close] these are the ones that have not come to their end yet.
func (c *Channel[T]) Receivers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.receivers
}

// release drops the ring when nobody can read from it any more. c.mu is held.
func (c *Channel[T]) release() {
	if c.closed && c.receivers == 0 {
		c.ring = nil
	}
}
