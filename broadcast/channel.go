package broadcast

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
)

// A Channel sends every value to all of its receivers; it is made by [New]. Any
// number of goroutines may use it at once. It has no goroutine while there is
// nobody to wake, and needs no Close to be collected as garbage.
//
// The ring is allocated by [New] and refers to a value until that is
// overwritten, or until the channel is closed and the last receiver has ended.
// All receivers get the same value: what it refers to must not be changed once
// it is sent.
type Channel[T any] struct {
	slots       []slot[T]     // value number n, from 0, is in slots[n%len(slots)]
	state       atomic.Uint64 // how many values have been sent, and closedBit; changed under mu
	wait        waitList[T]
	wakeWaiting func() // c.wake; made once, so that starting it allocates nothing

	mu        sync.Mutex
	receivers int // guarded by mu
}

// closedBit is the bit of Channel.state that says that the channel is closed. It
// is in one word with the number of values sent so that both are seen at once:
// what is sent when closedBit is seen is all that will be.
const closedBit = 1 << 63

// A slot is one place of the ring. Each has its own lock, which a Send shares
// only with receivers that are a whole ring behind. Under one lock for all, a
// Send beside 10,000 receivers that were being woken took 15 ms in one case of a
// hundred: having lost the lock to one of them, it lost its turn to all. With
// these it takes 0.03 ms (two cores, BenchmarkSendBusy), and 40 ns more when
// nobody is in its way.
type slot[T any] struct {
	mu     sync.RWMutex
	number uint64 // of the value, or noValue
	value  T
}

// noValue is the number in a slot that was emptied.
const noValue = math.MaxUint64

// New returns a channel that keeps the last capacity values for receivers that
// are behind: a receiver misses values when it is more than that behind. It
// panics when capacity is less than 1.
func New[T any](capacity int) *Channel[T] {
	if capacity < 1 {
		panic("broadcast: New with a capacity of less than 1")
	}
	c := &Channel[T]{slots: make([]slot[T], capacity)}
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
	n := c.state.Load()
	if receivers == 0 || n&closedBit != 0 {
		c.mu.Unlock()
		return 0
	}
	s := &c.slots[n%uint64(len(c.slots))]
	s.mu.Lock()
	s.number, s.value = n, v
	s.mu.Unlock()
	c.state.Store(n + 1)
	c.mu.Unlock()
	c.startWake()
	return receivers
}

// Subscribe adds a receiver, for what is sent from now on: a value that is sent
// after Subscribe has returned is received, however late receiving begins.
//
// The receiver ends, and is no longer counted, when ctx is done or
// [Receiver.Close] is called, whether or not it has received anything. So a
// handler that answers a HEAD request, and never uses the receiver, leaves
// nothing behind when the request has ended. A receiver whose ctx is never done
// must be closed or ranged to the end.
//
// When ctx is done already, or the channel is closed, the receiver has ended
// from the start.
func (c *Channel[T]) Subscribe(ctx context.Context) *Receiver[T] {
	r := &Receiver[T]{c: c, ctx: ctx, tokens: make(chan struct{}, 1)}
	if ctx.Err() != nil || !c.add(r) {
		r.ended.Store(true)
		return r
	}
	r.stop = context.AfterFunc(ctx, r.end)
	return r
}

// add counts r as a receiver unless the channel is closed.
func (c *Channel[T]) add(r *Receiver[T]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent := c.state.Load()
	if sent&closedBit != 0 {
		return false
	}
	r.next = sent
	c.receivers++
	return true
}

// drop ends r, if it has not ended.
func (c *Channel[T]) drop(r *Receiver[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.ended.Load() {
		return
	}
	r.ended.Store(true)
	c.receivers--
	c.release()
}

// Close ends the channel: receivers still get what is retained for them, then
// they end. Close does not wait for that. Closing again does nothing.
func (c *Channel[T]) Close() {
	c.mu.Lock()
	c.state.Or(closedBit)
	c.release()
	c.mu.Unlock()
	c.startWake()
}

// Receivers returns how many receivers have not ended. After [Channel.Close]
// these are the ones that have not come to their end yet.
func (c *Channel[T]) Receivers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.receivers
}

// release empties the ring when the channel is closed and has no receivers. c.mu
// is held.
func (c *Channel[T]) release() {
	if c.state.Load()&closedBit == 0 || c.receivers > 0 {
		return
	}
	var zero T
	for i := range c.slots {
		s := &c.slots[i]
		s.mu.Lock() // a receiver that has just ended may still be reading
		s.number, s.value = noValue, zero
		s.mu.Unlock()
	}
}

// sent returns how many values have been sent, and whether they are all because
// the channel is closed.
func (c *Channel[T]) sent() (n uint64, closed bool) {
	state := c.state.Load()
	return state &^ closedBit, state&closedBit != 0
}

// read returns value number n, which has been sent, or, when it has been
// overwritten, how many values from n on have been. It is not ok when the ring
// has been emptied.
func (c *Channel[T]) read(n uint64) (v T, missed uint64, ok bool) {
	capacity := uint64(len(c.slots))
	if sent, _ := c.sent(); sent-n > capacity {
		return v, sent - n - capacity, true
	}
	s := &c.slots[n%capacity]
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch s.number {
	case n:
		return s.value, 0, true
	case noValue:
		return v, 0, false
	}
	// Overwritten after that look, by a Send that may not have counted it yet.
	sent, _ := c.sent()
	return v, max(sent, s.number+1) - n - capacity, true
}
