package natslog

import (
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
	"example.com/tidings/sse"
)

// holes are the ranges of sequence numbers, between a stream's first and last, that have no
// message. Retention removes messages only from the front. So the messages of these numbers
// are removed or lost. Methods may be called concurrently.
type holes struct {
	mu      sync.Mutex
	missing spans
	removed spans // what this log has removed, or was about to

	version  uint64    // changes when there are more missing ones
	examined [2]uint64 // how many the server had deleted, and its first number, when find was called last
}

// find adds the holes that a leader has listed.
func (h *holes) find(info *jetstream.StreamInfo) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.examined = [2]uint64{uint64(info.State.NumDeleted), info.State.FirstSeq}
	for _, seq := range info.State.Deleted {
		if seq < max(info.State.FirstSeq, 1) { // JetStream reports number 0 as missing from an empty stream
			continue
		}
		if _, known := h.missing.find(seq); !known {
			h.missing.add(seq, seq)
			h.version++
		}
	}
}

// differ reports whether a leader may know of holes that are not known here.
func (h *holes) differ(info *jetstream.StreamInfo) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := uint64(0)
	for _, s := range h.missing {
		if first := max(s.first, info.State.FirstSeq); first <= s.last {
			n += s.last - first + 1
		}
	}
	deleted := uint64(info.State.NumDeleted)
	return deleted != n && h.examined != [2]uint64{deleted, info.State.FirstSeq}
}

// list implements [eventlog.HoleFinder].
func (h *holes) list(after, upTo, version uint64) (found []eventlog.Hole, current uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if version == h.version {
		return nil, version
	}
	for seq := after + 1; seq <= upTo; {
		i, ok := h.missing.find(seq)
		if i == len(h.missing) || h.missing[i].first > upTo {
			break
		}
		if !ok {
			seq = h.missing[i].first
		}
		last, reason := h.part(i, seq)
		last = min(last, upTo)
		found = append(found, eventlog.Hole{First: seq, Last: last, Reason: reason})
		seq = last + 1
	}
	return found, h.version
}

// add adds a hole.
func (h *holes) add(first, last uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.missing.add(first, last)
	h.version++
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
	last, reason = h.part(i, seq)
	return last, reason, true
}

// part returns the last number of the part of a hole that begins with seq and has one reason.
// Callers hold mu.
func (h *holes) part(i int, seq uint64) (last uint64, reason string) {
	last = h.missing[i].last
	k, removed := h.removed.find(seq)
	switch {
	case removed:
		return min(last, h.removed[k].last), sse.GapRemoved
	case k < len(h.removed):
		last = min(last, h.removed[k].first-1)
	}
	return last, sse.GapLost
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
