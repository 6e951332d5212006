package delivery

// A walk goes through a set's streams, and hands each what it is owed. Other work is done
// on the way, in which streams may come and go.
type walk struct {
	next  int    // the index of the member that comes next
	low   uint64 // the least count of those that still need frames
	again bool   // one of those that it has come by is still owed something
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
		set.trim(set.walk.low)
		if set.walk.again {
			s.mark(set)
		}
	}
}

// visit hands a stream of a set what it is owed.
func (s *Shard) visit(set *Set, i uint32) {
	sl := &s.slots[i]
	if sl.state == live && !sl.stalled {
		switch owed := set.total() - sl.count; {
		case owed > burstFrames || owed > 0 && sl.sink != Socket:
			s.fallBehind(i)
		case owed > 0:
			s.serve(i)
		case s.draining:
			s.Finish(i)
		}
		set.walk.again = set.walk.again || sl.state == live && !sl.stalled && (sl.count < set.total() || s.draining)
	}
	s.keepFor(sl)
}

// keepFor has the walk that goes on keep the frames that a stream was not handed yet. A
// stream whose sink is full keeps none: its place is found again when it no longer is.
func (s *Shard) keepFor(sl *slot) {
	if (sl.state == live || sl.state == behind) && !sl.stalled && !sl.busy && s.walked != nil && s.walked.id == sl.set {
		s.walked.walk.low = min(s.walked.walk.low, sl.count)
	}
}

// mark has a set's streams looked after.
func (s *Shard) mark(set *Set) {
	if !set.dirty {
		set.dirty = true
		s.dirty.add(set)
	}
}

// enlist adds a stream to a set. A walk comes by it.
func (s *Shard) enlist(i uint32, set *Set) {
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

// fallBehind has a live stream served in its turn among those that are owed much, have
// just come, or are a task: so that it does not wait for a walk, and no walk for it.
func (s *Shard) fallBehind(i uint32) {
	sl := &s.slots[i]
	sl.state = behind
	s.sets[sl.set].behind++
	if sl.sink == Socket {
		s.queueBehind(i)
	} else {
		s.offer(i)
	}
}

// queueBehind has a socket wait for its turn, once.
func (s *Shard) queueBehind(i uint32) {
	if sl := &s.slots[i]; !sl.waiting {
		sl.waiting = true
		s.behind.add(s.Name(i))
	}
}

// serveBehind serves some of the sockets that have to catch up with their set.
func (s *Shard) serveBehind() {
	for n := min(s.behind.len(), turnBehind); n > 0; n-- {
		st := s.behind.take()
		if !s.Is(st) {
			continue
		}
		s.slots[st.Slot].waiting = false
		if s.slots[st.Slot].state != behind {
			continue
		}
		s.serve(st.Slot)
		if !s.Is(st) || s.slots[st.Slot].state != behind {
			continue
		}
		if sl := &s.slots[st.Slot]; !sl.stalled && sl.count < s.sets[sl.set].total() {
			s.queueBehind(st.Slot)
		} else {
			s.caughtUp(sl)
		}
	}
}

// caughtUp has a stream that was behind served by walks.
func (s *Shard) caughtUp(sl *slot) {
	s.leaveState(sl)
	sl.state = live
	if s.draining {
		s.mark(s.sets[sl.set])
	}
}
