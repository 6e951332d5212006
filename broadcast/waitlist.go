package broadcast

// How waiting works
//
// A receiver that has nothing to receive puts itself on the channel's wait
// list and receives from its own wake channel, of capacity 1. Whoever takes it
// off the list for a reason other than its own Receive puts a token into that
// channel afterwards, if there is none. A token says no more than "look again":
// everything is decided under Channel.mu. Hence
//
//   - no wake-up is lost: a receiver that is about to wait is on the list, or
//     its token is there or on its way. It went on the list in the same critical
//     section in which it saw that there was nothing, and no token that is
//     found in its place is the last: it looks, and is on the list or sees why
//     not;
//   - a stale token, left by a Receive whose context ended while the receiver
//     was being woken, costs one look.
//
// The list is in order of arrival, so also in the order of positions. wake
// takes from its front those that have something to receive, and stops at the
// first that arrived after the last Send: receivers that come back for more
// while others are still being woken are not woken for nothing.

// wakeBatch is how many receivers wake takes off the list at a time: enough
// that the lock is no cost beside waking them, few enough that Send is not held
// up for more than about a microsecond.
const wakeBatch = 64

// A waitList is a list of subscriptions, linked through themselves, so that
// adding and removing is O(1) and allocates nothing.
type waitList[T any] struct {
	front, back *Subscription[T]
}

// push adds s at the back. s must not be on the list.
func (l *waitList[T]) push(s *Subscription[T]) {
	s.waiting = true
	s.before = l.back
	if l.back == nil {
		l.front = s
	} else {
		l.back.after = s
	}
	l.back = s
}

// remove takes s off the list if it is on it.
func (l *waitList[T]) remove(s *Subscription[T]) {
	if !s.waiting {
		return
	}
	if s.before == nil {
		l.front = s.after
	} else {
		s.before.after = s.after
	}
	if s.after == nil {
		l.back = s.before
	} else {
		s.after.before = s.before
	}
	s.before, s.after, s.waiting = nil, nil, false
}

// due returns the first receiver on the list if it must be woken, or nil. c.mu
// is held.
func (c *Channel[T]) due() *Subscription[T] {
	s := c.waiting.front
	if s == nil || s.next == c.sent && !c.closed {
		return nil
	}
	return s
}

// mustWake reports whether the caller must start wakeWaiting, after it has
// unlocked c.mu, which is held.
func (c *Channel[T]) mustWake() bool {
	if c.waking || c.due() == nil {
		return false
	}
	c.waking = true
	return true
}

// wake wakes all receivers that are due, also those that become so meanwhile,
// and returns when there are none. At most one goroutine per channel runs it.
func (c *Channel[T]) wake() {
	var batch [wakeBatch]*Subscription[T]
	for {
		n := 0
		c.mu.Lock()
		for n < len(batch) {
			s := c.due()
			if s == nil {
				break
			}
			c.waiting.remove(s)
			batch[n] = s
			n++
		}
		if n == 0 {
			c.waking = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		for _, s := range batch[:n] {
			s.token()
		}
	}
}
