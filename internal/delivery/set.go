package delivery

import (
	"slices"
	"sort"
)

// A Set is the streams of a shard that get the same frames in the same order. It keeps
// only the frames that some stream still needs whose sink is not stalled.
type Set struct {
	// Key is the feed's.
	Key any

	id      uint32
	members []uint32    // slots
	list    []Frame     // those after from
	from    uint64      // a position
	base    uint64      // how many frames had come before the list: see slot.count
	behind  int         // members in the state behind
	dirty   bool        // it is in the shard's queue of those that are owed something
	walk    walk        // while it is the one that is walked
	joined  [Forms]text // the run of frames that was last joined for a writer, by form
}

// firstCount leaves room below for frames that are prepended.
const firstCount = 1 << 62

// total is the count after the last frame.
func (set *Set) total() uint64 { return set.base + uint64(len(set.list)) }

// From returns the position after which the set has its frames.
func (set *Set) From() uint64 { return set.from }

// Len returns how many streams are in the set.
func (set *Set) Len() int { return len(set.members) }

// Longer reports whether a set holds more than n frames.
func (set *Set) Longer(n int) bool { return len(set.list) > n }

// keptList is how long a list may be whose memory is kept for the next frames.
const keptList = 64

// trim drops the frames that have been counted up to low.
func (set *Set) trim(low uint64) {
	if low <= set.base {
		return
	}
	n := int(low - set.base)
	set.from = set.list[n-1].Position()
	set.base = low
	set.joined = [Forms]text{}
	if n == len(set.list) && cap(set.list) > keptList {
		set.list = nil
		return
	}
	set.list = slices.Delete(set.list, 0, n)
}

// NewSet returns a set without streams and frames, which has what is appended after a
// position.
func (s *Shard) NewSet(key any, from uint64) *Set {
	set := &Set{Key: key, from: from, base: firstCount}
	if n := len(s.freeSets); n > 0 {
		set.id = s.freeSets[n-1]
		s.freeSets = s.freeSets[:n-1]
		s.sets[set.id] = set
	} else {
		set.id = uint32(len(s.sets))
		s.sets = append(s.sets, set)
	}
	s.now.Sets++
	return set
}

// Append appends a frame to a set. Its streams are going to be handed it, unless they
// have it.
func (s *Shard) Append(set *Set, f Frame) {
	set.list = append(set.list, f)
	s.mark(set)
}

// Prepend puts frames before those of a set, which then has all after a position.
func (s *Shard) Prepend(set *Set, frames []Frame, from uint64) {
	set.list = slices.Insert(set.list, 0, frames...)
	set.base -= uint64(len(frames))
	set.from = from
	set.joined = [Forms]text{} // of a count that may now be another frame's
}

// Reset drops the frames of a set, which then has what is appended after a position. Its
// streams have to be settled again, or be detached.
func (s *Shard) Reset(set *Set, from uint64) {
	set.base, set.list, set.from, set.joined = set.total(), nil, from, [Forms]text{}
}

// Forget drops the frames of a set up to a position. Streams that were not handed them
// have to be settled again.
func (s *Shard) Forget(set *Set, through uint64) {
	set.trim(set.base + uint64(countUpTo(set.list, through)))
}

// countUpTo returns how many of the frames have the position or a lesser one.
func countUpTo(list []Frame, position uint64) int {
	return sort.Search(len(list), func(i int) bool { return list[i].Position() > position })
}

// Sets calls f for each set.
func (s *Shard) Sets(f func(*Set)) {
	for _, set := range s.sets {
		if set != nil {
			f(set)
		}
	}
}

// Drop drops a set without streams.
func (s *Shard) Drop(set *Set) {
	s.sets[set.id] = nil
	s.freeSets = append(s.freeSets, set.id)
	s.now.Sets--
	s.feed.Vacated(set)
}
