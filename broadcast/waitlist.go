package broadcast

import (
	"sync"
	"sync/atomic"
)

// How waiting works
//
// A receiver that has nothing to receive puts itself on the channel's wait list
// and then receives a token from its own channel of capacity 1. Send and Close
// look only at the length of the list, and start a goroutine, the waker, when
// it is not 0 and none runs. The waker takes receivers off the list and gives
// each a token. A token says no more than "look again", and there is at most
// one: giving a second does nothing.
//
// No wake-up is lost, because each side first writes and then looks, and
// sync/atomic is sequentially consistent:
//
//   - a receiver lengthens the list, then looks at Channel.state (await); Send
//     and Close change the state, then look at the length (startWake). One of
//     the two sees the other.
//   - a Send that sees a running waker leaves the work to it; the waker clears
//     waking, then looks at the state again (rest).
//   - who ends a receiver sets ended, then gives it a token; it takes the token,
//     then looks at ended.
//
// A token may be stale: its receiver had left, since the context of its Receive
// ended while it was being woken, or had gone on the list again. It costs one
// look. So a receiver that looks may still be on the list; it is moved to the
// back when it waits again, and taken off when its Receive ends with an error.
// One that receives a value meanwhile may stay, and is given a stale token.
//
// The list is in the order of arrival, and so in the order of since, how many
// values had been sent at the arrival. The waker stops at the first receiver
// that arrived after the last Send: receivers that have come back for more
// while others are still being woken are not woken for nothing.

// wakeBatch is how many receivers the waker takes off the list at a time:
// enough that the lock costs little beside the waking, few enough that
// receivers do not wait for it for more than a microsecond or so.
const wakeBatch = 64

// A waitList is the list of receivers that wait, linked through the
// receivers themselves: adding and removing is O(1) and allocates nothing.
type waitList[T any] struct {
	mu          sync.Mutex
	front, back *Receiver[T] // guarded by mu
	length      atomic.Int64 // changed under mu
	waking      atomic.Bool  // a waker runs, or is about to
}

// await puts r on the wait list, at the back. It reports whether r must then
// wait for a token: it does not, and r is not on the list, when there is
// something to receive.
func (c *Channel[T]) await(r *Receiver[T]) bool {
	l := &c.wait
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unlink(r)
	r.since = r.next
	l.push(r)
	if c.state.Load() != r.next {
		l.unlink(r)
		return false
	}
	return true
}

// startWake starts a waker if there may be something for it to do. The caller
// has changed the state.
func (c *Channel[T]) startWake() {
	if c.wait.length.Load() > 0 && c.wait.waking.CompareAndSwap(false, true) {
		go c.wakeWaiting()
	}
}

// wake is the waker: it wakes all receivers that are due, also those that
// become so meanwhile, and returns when there are none. At most one goroutine
// per channel runs it.
func (c *Channel[T]) wake() {
	var batch [wakeBatch]*Receiver[T]
	for {
		due := c.takeDue(batch[:0])
		for _, r := range due {
			r.token()
		}
		if len(due) == 0 && c.rest() {
			return
		}
	}
}

// takeDue takes receivers that are due off the wait list and appends them to
// batch, as many as it has room for.
func (c *Channel[T]) takeDue(batch []*Receiver[T]) []*Receiver[T] {
	l := &c.wait
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(batch) < cap(batch) && c.isDue(l.front) {
		batch = append(batch, l.front)
		l.unlink(l.front)
	}
	return batch
}

// rest clears waking when the waker has found nobody to wake. It reports
// whether the waker may end: not if somebody has become due meanwhile and no
// other waker has been started, for then nobody else would.
func (c *Channel[T]) rest() bool {
	l := &c.wait
	l.waking.Store(false)
	l.mu.Lock()
	defer l.mu.Unlock()
	return !c.isDue(l.front) || !l.waking.CompareAndSwap(false, true)
}

// isDue reports whether r, the front of the wait list or nil, must be woken.
func (c *Channel[T]) isDue(r *Receiver[T]) bool {
	return r != nil && r.since != c.state.Load()
}

// push adds r, which is not on the list, at the back. l.mu is held.
func (l *waitList[T]) push(r *Receiver[T]) {
	r.waiting = true
	r.before = l.back
	if l.back == nil {
		l.front = r
	} else {
		l.back.after = r
	}
	l.back = r
	l.length.Add(1)
}

// remove takes r off the list if it is on it.
func (l *waitList[T]) remove(r *Receiver[T]) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unlink(r)
}

// unlink is remove while l.mu is held.
func (l *waitList[T]) unlink(r *Receiver[T]) {
	if !r.waiting {
		return
	}
	if r.before == nil {
		l.front = r.after
	} else {
		r.before.after = r.after
	}
	if r.after == nil {
		l.back = r.before
	} else {
		r.after.before = r.before
	}
	r.before, r.after, r.waiting = nil, nil, false
	l.length.Add(-1)
}
