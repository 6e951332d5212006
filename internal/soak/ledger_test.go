//go:build unix

package soak_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// A ledger has the acknowledged messages, with which the tests compare the subscribers.
// It may be used concurrently.
type ledger struct {
	plan []message
	head atomic.Uint64 // the greatest sequence number so far

	mu  sync.Mutex
	ids []string // ids by message number; "" for a message without acknowledgement
}

func newLedger(plan []message) *ledger {
	return &ledger{plan: plan, ids: make([]string, len(plan))}
}

// extend adds messages to the plan. No other goroutine may use the plan meanwhile.
func (l *ledger) extend(messages ...message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.plan = append(l.plan, messages...)
	l.ids = append(l.ids, make([]string, len(messages))...)
}

// sequence returns the sequence number of an event's id.
func sequence(id string) (uint64, error) {
	_, digits, ok := strings.Cut(id, "-")
	if !ok {
		return 0, fmt.Errorf("the id %q has no sequence number", id)
	}
	return strconv.ParseUint(digits, 10, 64)
}

// ack records that a message was acknowledged with an id.
func (l *ledger) ack(n int, id string) error {
	seq, err := sequence(id)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ids[n] != "" && l.ids[n] != id {
		return fmt.Errorf("message %d is acknowledged as %s, but was acknowledged before as %s", n, id, l.ids[n])
	}
	l.ids[n] = id
	for head := l.head.Load(); head < seq && !l.head.CompareAndSwap(head, seq); head = l.head.Load() {
	}
	return nil
}

// ascending checks that messages that were published one after the other, or in one
// batch, are stored in that order. Other messages may be between them.
func (l *ledger) ascending(first, end int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := uint64(0)
	for n := first; n < end; n++ {
		seq, err := sequence(l.ids[n])
		if err != nil {
			return err
		}
		if seq <= last {
			return fmt.Errorf("message %d was published after message %d, but is stored before it, as %s", n, n-1, l.ids[n])
		}
		last = seq
	}
	return nil
}

// A stored message is a message of the plan with its position in the log.
type stored struct {
	n   int
	seq uint64
	id  string
}

// order returns all acknowledged messages in the order of the log. No two of them may
// have the same position.
func (l *ledger) order() ([]stored, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []stored
	for n, id := range l.ids {
		if id != "" {
			seq, _ := sequence(id)
			all = append(all, stored{n, seq, id})
		}
	}
	slices.SortFunc(all, func(a, b stored) int { return int(int64(a.seq) - int64(b.seq)) })
	for i := 1; i < len(all); i++ {
		if all[i].seq == all[i-1].seq {
			return nil, fmt.Errorf("messages %d and %d are both acknowledged as number %d", all[i-1].n, all[i].n, all[i].seq)
		}
	}
	return all, nil
}
