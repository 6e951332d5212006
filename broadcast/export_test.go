package broadcast

// These stop the channel between two steps that no test can hit from outside.

// Waiting returns how many receivers are on the wait list.
func (c *Channel[T]) Waiting() int { return int(c.wait.length.Load()) }

// Await puts r on the wait list, as Receive does before it waits.
func (c *Channel[T]) Await(r *Receiver[T]) bool { return c.await(r) }

// PretendWaker makes Send and Close believe that a waker runs.
func (c *Channel[T]) PretendWaker() { c.wait.waking.Store(true) }

// Rest is what a waker does when it has found nobody to wake.
func (c *Channel[T]) Rest() bool { return c.rest() }

// Overwrite does the first half of Send: v is in its slot, and not counted.
func (c *Channel[T]) Overwrite(v T) {
	n, _ := c.sent()
	s := &c.slots[n%uint64(len(c.slots))]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number, s.value = n, v
}

// HoldSlot holds the lock of the slot that the next Send fills, until release.
func (c *Channel[T]) HoldSlot() (release func()) {
	n, _ := c.sent()
	s := &c.slots[n%uint64(len(c.slots))]
	s.mu.Lock()
	return s.mu.Unlock
}

// Sending reports whether somebody is within Send or another call that changes
// the state.
func (c *Channel[T]) Sending() bool {
	if c.mu.TryLock() {
		c.mu.Unlock()
		return false
	}
	return true
}

// Empty empties the ring, as the end of the last receiver does after Close.
func (c *Channel[T]) Empty() {
	c.mu.Lock()
	defer c.mu.Unlock()
	receivers := c.receivers
	c.receivers = 0
	c.release()
	c.receivers = receivers
}

// Waking reports whether a waker runs.
func (c *Channel[T]) Waking() bool { return c.wait.waking.Load() }

// AddToken leaves a stale token for r.
func (r *Receiver[T]) AddToken() { r.token() }
