package delivery

import (
	"slices"
	"sort"
)

// A Set holds the streams of a shard that get the same frames in the same order. It keeps
// only the frames that a stream whose sink is not stalled still needs.
type Set struct {
	// Key belongs to the feed.
	Key any

	id      uint32
	members []uint32 // slots of the streams
	frames  []Frame  // frames after the position from
	from    uint64   // a position
	base    uint64   // count of the frames before frames[0]: see slot.count
	lagging int      // members in the state lagging
	sweep   sweep
	joined  [Forms]*joinedFrames // frames that were last joined for a writer, by form
}

// firstCount is the base of a new set. Prepended frames lower the base.
const firstCount = 1 << 62

// total is the count after the newest frame.
func (set *Set) total() uint64 { return set.base + uint64(len(set.frames)) }

// From returns the position after which the set has all its frames.
func (set *Set) From() uint64 { return set.from }

// Len returns how many streams are in the set.
func (set *Set) Len() int { return len(set.members) }

// Exceeds reports whether a set holds more than so many frames, or bytes of frames, up to a
// position.
func (set *Set) Exceeds(position uint64, frames, bytes int) bool {
	for i, f := range set.frames {
		if f.Position() > position {
			return false
		}
		if bytes -= f.Size(); bytes < 0 || i == frames {
			return true
		}
	}
	return false
}

// maxKeptFrames is the largest capacity that an empty list of frames keeps.
const maxKeptFrames = 64

// trim drops the frames before the count low.
func (set *Set) trim(low uint64) {
	if low <= set.base {
		return
	}
	n, left := int(low-set.base), int(set.total()-low)
	set.from = set.frames[n-1].Position()
	set.base = low
	set.joined = [Forms]*joinedFrames{}
	switch {
	case left == 0 && cap(set.frames) > maxKeptFrames:
		set.frames = nil
	case left > n: // moving them each time would cost more than appending them
		clear(set.frames[:n])
		set.frames = set.frames[n:]
	default:
		set.frames = slices.Delete(set.frames, 0, n)
	}
}

// NewSet returns a set without streams and frames. It holds the frames that are appended
// after the position from.
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
	s.stats.Sets++
	return set
}

// Append appends a frame to a set. The shard hands it to each stream of the set that does
// not have it.
func (s *Shard) Append(set *Set, f Frame) {
	set.frames = append(set.frames, f)
	s.markDirty(set)
}

// Prepend puts frames before those of a set. The set then has all its frames after from.
func (s *Shard) Prepend(set *Set, frames []Frame, from uint64) {
	set.frames = slices.Insert(set.frames, 0, frames...)
	set.base -= uint64(len(frames))
	set.from = from
	set.joined = [Forms]*joinedFrames{} // its counts may now belong to other frames
}

// Reset drops all frames of a set. The set then holds the frames that are appended after
// from. Streams that lack dropped frames must be resettled or detached.
func (s *Shard) Reset(set *Set, from uint64) {
	set.base, set.frames, set.from, set.joined = set.total(), nil, from, [Forms]*joinedFrames{}
}

// Forget drops the frames of a set up to a position. Streams that lack dropped frames must
// be resettled or detached.
func (s *Shard) Forget(set *Set, through uint64) {
	set.trim(set.base + uint64(countUpTo(set.frames, through)))
}

// countUpTo returns how many frames have at most the given position.
func countUpTo(list []Frame, position uint64) int {
	return sort.Search(len(list), func(i int) bool { return list[i].Position() > position })
}

// Sets calls f for each set of the shard.
func (s *Shard) Sets(f func(*Set)) {
	for _, set := range s.sets {
		if set != nil {
			f(set)
		}
	}
}

// Drop removes a set that has no streams.
func (s *Shard) Drop(set *Set) {
	s.sets[set.id] = nil
	s.freeSets = append(s.freeSets, set.id)
	s.stats.Sets--
	s.feed.Vacated(set)
}
