package bench

import "slices"

// A ledger holds which messages of its topic one subscriber has received. The
// zero value is that of one that has none. It is for one goroutine at a time.
type ledger struct {
	next  uint64 // after the highest that was received
	got   uint64 // how many were received, each counted once
	holes []span // those below next that were not, ascending
}

// A span is the numbers from first to last.
type span struct{ first, last uint64 }

// maxHoles bounds the memory of a ledger. With more the oldest one is forgotten:
// its messages stay missing, and those that arrive all the same count as repeated.
const maxHoles = 1024

// A verdict says what a received message is.
type verdict int

const (
	inOrder    verdict = iota
	ahead              // those between the last one and this have not come
	outOfOrder         // it has come after a later one
	repeated           // it has come before
)

// receive enters a message. With the verdict ahead, skipped is how many between
// the last one and this have not come.
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

// hole returns where among the holes seq is, if it is in one.
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
