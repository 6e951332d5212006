package bench

import "slices"

// A ledger records which messages of its topic a subscriber has received. The zero
// value is an empty ledger. It is for one goroutine at a time.
type ledger struct {
	next  uint64 // the number after the highest one received
	got   uint64 // messages received, each counted once
	holes []span // the numbers below next that are missing, ascending
}

// A span is a range of numbers, with both ends.
type span struct{ first, last uint64 }

// maxHoles bounds the memory of a ledger, which forgets the oldest hole beyond it. The
// messages of that hole stay missing. If one still arrives, it counts as repeated.
const maxHoles = 1024

// A verdict classifies a received message.
type verdict int

const (
	inOrder    verdict = iota
	ahead              // some messages before it are skipped
	outOfOrder         // it arrives after a later one
	repeated           // it has arrived before
)

// receive records a message. With the verdict ahead, skipped is the number of missing
// messages between the highest one so far and this one.
func (l *ledger) receive(seq uint64) (v verdict, skipped uint64) {
	if seq >= l.next {
		if skipped = seq - l.next; skipped > 0 {
			if len(l.holes) == maxHoles {
				l.holes = slices.Delete(l.holes, 0, 1)
			}
			l.holes = append(l.holes, span{l.next, seq - 1})
			v = ahead
		}
		l.next = seq + 1
		l.got++
		return v, skipped
	}
	i, found := l.hole(seq)
	if !found {
		return repeated, 0
	}
	l.got++
	switch s := &l.holes[i]; {
	case s.first == s.last:
		l.holes = slices.Delete(l.holes, i, i+1)
	case s.first == seq:
		s.first++
	case s.last == seq:
		s.last--
	default:
		rest := span{seq + 1, s.last}
		s.last = seq - 1
		l.holes = slices.Insert(l.holes, i+1, rest)
		if len(l.holes) > maxHoles {
			l.holes = slices.Delete(l.holes, 0, 1)
		}
	}
	return outOfOrder, 0
}

// has reports whether a message was received.
func (l *ledger) has(seq uint64) bool {
	_, missing := l.hole(seq)
	return seq < l.next && !missing
}

// hole returns the index of the hole that seq is in, if any.
func (l *ledger) hole(seq uint64) (i int, found bool) {
	return slices.BinarySearchFunc(l.holes, seq, func(s span, seq uint64) int {
		switch {
		case s.last < seq:
			return -1
		case s.first > seq:
			return 1
		}
		return 0
	})
}
