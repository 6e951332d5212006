package fanout

// A walk goes through a set's streams, and writes to each what it is owed. Other work
// is done on the way, in which streams may come and go.
type walk struct {
	next  int    // the index of the member that comes next
	low   uint64 // the least count of those that it has come by
	again bool   // one of them is still owed something
}

// walk goes on with the sets that are owed something.
func (s *Shard) walk() {
	for n := 0; n < turnWalk; n++ {
		set := s.walked
		if set == nil {
			if s.dirty.len() == 0 {
				return
			}
			set = s.dirty.take()
			set.dirty = false
			set.walk = walk{low: set.total()}
			s.walked = set
		}
		if set.walk.next < len(set.members) {
			i := set.members[set.walk.next]
			set.walk.next++
			s.visit(set, i)
			continue
		}
		s.walked = nil
		if set.behind == 0 {
			set.trim(set.walk.low)
		}
		if set.walk.again {
			s.mark(set)
		}
	}
}

// visit writes to a stream of a set what it is owed.
func (s *Shard) visit(set *Set, i uint32) {
	sl := &s.slots[i]
	if sl.state != live || sl.stalled {
		return
	}
	switch owed := set.total() - sl.count; {
	case owed > burstFrames:
		s.fallBehind(i)
	case owed > 0:
		s.serve(i)
	case s.draining:
		s.Finish(i)
	}
	if sl.state == live && !sl.stalled {
		set.walk.low = min(set.walk.low, sl.count)
		set.walk.again = set.walk.again || sl.count < set.total() || s.draining
	}
}

// mark has a set's streams looked after.
func (s *Shard) mark(set *Set) {
	if !set.dirty {
		set.dirty = true
		s.dirty.add(set)
	}
}

// join adds a stream to a set. A walk comes by it.
func (s *Shard) join(i uint32, set *Set) {
	sl := &s.slots[i]
	sl.set, sl.member = set.id, uint32(len(set.members))
	set.members = append(set.members, i)
}

// quit removes a stream from its set, so that a walk comes by all the others once.
func (s *Shard) quit(i uint32) {
	set := s.sets[s.slots[i].set]
	gap := int(s.slots[i].member)
	if s.walked == set && gap < set.walk.next {
		set.walk.next--
		s.move(set, set.walk.next, gap)
		gap = set.walk.next
	}
	last := len(set.members) - 1
	if gap < last {
		s.move(set, last, gap)
	}
	set.members = set.members[:last]
	if last == 0 {
		s.Drop(set)
	}
}

// move moves a member of a set to another place.
func (s *Shard) move(set *Set, from, to int) {
	moved := set.members[from]
	set.members[to] = moved
	s.slots[moved].member = uint32(to)
}
