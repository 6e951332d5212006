package jetlog

import (
	"slices"
	"sync"
)

// holes are the ranges of sequence numbers, between a stream's first and last, that
// have no message. Retention removes messages only from the front, so the messages
// of these numbers are lost.
type holes struct {
	mu     sync.Mutex
	ranges []span // ascending, disjoint
}

type span struct{ first, last uint64 }

// holesIn returns the holes of a stream.
func holesIn(info *streamInfo) *holes {
	h := new(holes)
	for _, seq := range info.State.Deleted {
		if seq < max(info.State.First, 1) {
			continue // JetStream reports number 0 as missing from an empty stream
		}
		if n := len(h.ranges); n > 0 && h.ranges[n-1].last+1 == seq {
			h.ranges[n-1].last = seq
		} else {
			h.ranges = append(h.ranges, span{seq, seq})
		}
	}
	return h
}

// add adds a hole that a reader has found. Readers skip known holes, so it overlaps
// none, unless another reader has added the same one.
func (h *holes) add(first, last uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, found := h.find(first)
	if found {
		h.ranges[i].last = max(h.ranges[i].last, last)
		return
	}
	h.ranges = slices.Insert(h.ranges, i, span{first, last})
}

// find returns the index of the first hole that ends at or after seq, and whether
// that hole contains seq. Callers hold mu.
func (h *holes) find(seq uint64) (int, bool) {
	i, _ := slices.BinarySearchFunc(h.ranges, seq, func(s span, seq uint64) int {
		if s.last < seq {
			return -1
		}
		return 1
	})
	return i, i < len(h.ranges) && h.ranges[i].first <= seq
}

// at returns the last number of the hole that contains seq.
func (h *holes) at(seq uint64) (last uint64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, ok := h.find(seq)
	if ok {
		last = h.ranges[i].last
	}
	return last, ok
}

// after returns the first number of the first hole after seq. The number seq + 1
// must not be in a hole.
func (h *holes) after(seq uint64) (first uint64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, _ := h.find(seq + 1)
	if i == len(h.ranges) {
		return 0, false
	}
	return h.ranges[i].first, true
}

// count returns how many numbers are missing, and in how many holes.
func (h *holes) count() (missing uint64, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.ranges {
		missing += s.last - s.first + 1
	}
	return missing, len(h.ranges)
}
