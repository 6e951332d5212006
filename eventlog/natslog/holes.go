package natslog

import (
	"slices"
	"sync"

	"example.com/tidings/sse"
)

// holes are the ranges of sequence numbers, between a stream's first and last, that have no
// message. Retention removes messages only from the front. So the messages of these numbers
// are removed or lost. Methods may be called concurrently.
type holes struct {
	mu      sync.Mutex
	missing spans
	removed spans // what this log has removed, or was about to
}

// add adds a hole.
func (h *holes) add(first, last uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.missing.add(first, last)
}

// removing notes that the log is about to remove a message. It reports whether the message
// is known to be missing.
func (h *holes) removing(seq uint64) (missing bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, missing = h.missing.find(seq); !missing {
		h.removed.add(seq, seq)
	}
	return missing
}

// at returns the last number of the hole that contains seq, and why its messages are missing.
func (h *holes) at(seq uint64) (last uint64, reason string, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, ok := h.missing.find(seq)
	if !ok {
		return 0, "", false
	}
	last = h.missing[i].last
	k, removed := h.removed.find(seq)
	switch {
	case removed:
		return min(last, h.removed[k].last), sse.GapRemoved, true
	case k < len(h.removed):
		last = min(last, h.removed[k].first-1)
	}
	return last, sse.GapLost, true
}

// after returns the first number of the first hole after seq. The number seq + 1 must not be
// in a hole.
func (h *holes) after(seq uint64) (first uint64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, _ := h.missing.find(seq + 1)
	if i == len(h.missing) {
		return 0, false
	}
	return h.missing[i].first, true
}

// remember takes over what an earlier generation has removed, if it is still missing.
func (h *holes) remember(old *holes) {
	old.mu.Lock()
	defer old.mu.Unlock()
	for _, r := range old.removed {
		i, _ := h.missing.find(r.first)
		for ; i < len(h.missing) && h.missing[i].first <= r.last; i++ {
			h.removed.add(max(r.first, h.missing[i].first), min(r.last, h.missing[i].last))
		}
	}
}

// forget forgets the holes that retention has overtaken, where the stream now begins with
// first. A hole that ends right there stays: it may be why the stream begins there.
func (h *holes) forget(first uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	overtaken := func(s span) bool { return s.last+1 < first }
	h.missing = slices.DeleteFunc(h.missing, overtaken)
	h.removed = slices.DeleteFunc(h.removed, overtaken)
}

// spans are ranges of numbers: ascending, and never adjacent.
type spans []span

type span struct{ first, last uint64 }

// find returns the index of the first span that ends at or after n, and whether that span
// contains n.
func (s spans) find(n uint64) (i int, ok bool) {
	i, _ = slices.BinarySearchFunc(s, n, func(s span, n uint64) int {
		if s.last < n {
			return -1
		}
		return 1
	})
	return i, i < len(s) && s[i].first <= n
}

// add adds the numbers from first, which is at least 1, to last.
func (s *spans) add(first, last uint64) {
	i, _ := s.find(first - 1)
	j := i
	for ; j < len(*s) && (*s)[j].first <= last+1; j++ {
		first, last = min(first, (*s)[j].first), max(last, (*s)[j].last)
	}
	*s = slices.Replace(*s, i, j, span{first, last})
}
