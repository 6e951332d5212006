package server

import (
	"slices"
	"sync"
)

// turns has a number of turns, and those who wait for one. Its methods may be called concurrently.
//
// The newest goes first: when more come than there is time for, the oldest have often given up, and
// they are the first to lose their connections. Every other turn is for those who have had one before.
type turns struct {
	closed <-chan struct{} // ends all waiting

	mu    sync.Mutex
	free  int
	first []chan struct{} // the newest last
	again []chan struct{} // of those who have had a turn, the newest last
	odd   bool            // the last turn was for again, if someone waited there
}

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
	turn := make(chan struct{})
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return true
	}
	queue := &t.first
	if again {
		queue = &t.again
	}
	*queue = append(*queue, turn)
	t.mu.Unlock()
	select {
	case <-turn:
		return true
	case <-t.closed:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(*queue, turn); i >= 0 {
		*queue = slices.Delete(*queue, i, i+1)
	} else { // somebody has just given it the turn
		t.pass()
	}
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
	t.odd = !t.odd
	n := len(t.first)
	var next chan struct{}
	switch {
	case len(t.again) > 0 && (n == 0 || t.odd):
		next, t.again[0] = t.again[0], nil
		t.again = t.again[1:]
	case n > 0:
		next, t.first[n-1] = t.first[n-1], nil
		t.first = t.first[:n-1]
	default:
		t.free++
		return
	}
	close(next)
}
