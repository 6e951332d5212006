package server

import (
	"slices"
	"sync"
	"time"
)

// turns has a number of turns, and those who wait for one. Its methods may be called concurrently.
//
// The oldest goes first until it has waited for longer than patience. Those who have go last, the
// newest of them first: when more come than there is time for, the oldest have often given up, and
// they are the first to lose their connections. Every other turn is for those who have had one before.
type turns struct {
	closed <-chan struct{} // ends all waiting

	mu    sync.Mutex
	free  int
	first []waiter // the newest last
	late  []waiter // were in first for longer than patience, the newest last
	again []waiter // have had a turn, the newest last
	odd   bool     // the last turn was for again, if someone waited there
}

// A waiter waits for a turn.
type waiter struct {
	turn  chan struct{}
	since time.Duration // by uptime
}

// patience is how long the oldest goes first. A newcomer is to be answered within a second.
const patience = 800 * time.Millisecond

func newTurns(n int, closed <-chan struct{}) *turns { return &turns{closed: closed, free: n} }

// try takes a turn if one is free.
func (t *turns) try() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free == 0 {
		return false
	}
	t.free--
	return true
}

// wait takes a turn. It returns false once closed is closed.
func (t *turns) wait(again bool) bool {
	w := waiter{turn: make(chan struct{}), since: uptime()}
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return true
	}
	if again {
		t.again = append(t.again, w)
	} else {
		t.first = append(t.first, w)
	}
	t.mu.Unlock()
	select {
	case <-w.turn:
		return true
	case <-t.closed:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, queue := range []*[]waiter{&t.first, &t.late, &t.again} {
		if i := slices.Index(*queue, w); i >= 0 {
			*queue = slices.Delete(*queue, i, i+1)
			return false
		}
	}
	t.pass() // somebody has just given it the turn
	return false
}

// give gives a turn back.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pass()
}

// pass hands a turn on. The caller has t.mu.
func (t *turns) pass() {
	if len(t.first) > 0 {
		for now := uptime(); len(t.first) > 0 && now-t.first[0].since > patience; {
			t.late = append(t.late, oldest(&t.first))
		}
	}
	t.odd = !t.odd
	var next waiter
	switch n := len(t.late); {
	case len(t.again) > 0 && (t.odd || len(t.first)+n == 0):
		next = oldest(&t.again)
	case len(t.first) > 0:
		next = oldest(&t.first)
	case n > 0:
		next, t.late[n-1] = t.late[n-1], waiter{}
		t.late = t.late[:n-1]
	default:
		t.free++
		return
	}
	close(next.turn)
}

// oldest takes the oldest out of a queue.
func oldest(queue *[]waiter) waiter {
	w := (*queue)[0]
	(*queue)[0] = waiter{}
	*queue = (*queue)[1:]
	return w
}
