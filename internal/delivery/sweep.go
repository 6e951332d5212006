package delivery

// A sweep goes through a set's streams, and hands each one the frames that it lacks. It does
// so in pieces. Between two pieces other sets have their turn and the shard does other work,
// so a big set or one of slow clients delays no other set, and streams may come and go.
type sweep struct {
	queued   bool   // the set is in Shard.sweeps
	dirty    bool   // the set needs a sweep after the current one, if there is one
	current  bool   // the set is in the middle of a sweep
	next     int    // index of the next member
	minCount uint64 // smallest slot.count of the streams that still need frames
	again    bool   // a visited stream needs another sweep
}

// A piece of a sweep visits at most pieceStreams, and ends once they have taken pieceBytes.
const (
	pieceStreams = 64
	pieceBytes   = 256 << 10
)

// sweep does pieces of sweeps, each time of the set that has waited longest.
func (s *Shard) sweep() {
	bytes := s.stats.Bytes
	for visits := 0; s.sweeps.len() > 0 && visits < turnSweep && s.stats.Bytes-bytes < turnBytes; {
		set := s.sweeps.take()
		set.sweep.queued = false
		if !set.sweep.current {
			set.sweep = sweep{current: true, minCount: set.total()}
		}
		visits += 1 + s.sweepPiece(set)
		if set.sweep.current || set.sweep.dirty {
			s.queueSweep(set)
		}
	}
}

// sweepPiece goes on with the sweep of a set. It returns how many streams it has visited.
func (s *Shard) sweepPiece(set *Set) (visits int) {
	sw := &set.sweep
	for bytes := s.stats.Bytes; sw.next < len(set.members); visits++ {
		if visits == pieceStreams || s.stats.Bytes-bytes >= pieceBytes {
			return visits
		}
		i := set.members[sw.next]
		sw.next++
		s.visit(set, i)
	}
	sw.current = false
	set.trim(sw.minCount)
	sw.dirty = sw.dirty || sw.again
	return visits
}

// visit hands a stream the frames of its set that it lacks.
func (s *Shard) visit(set *Set, i uint32) {
	sl := &s.slots[i]
	if sl.state == live && !sl.stalled {
		switch missing := set.total() - sl.count; {
		case missing > burstFrames || missing > 0 && sl.sink != Socket:
			s.makeLagging(i)
		case missing > 0:
			s.serve(i)
		case s.draining:
			s.Finish(i, Stopping)
		}
		set.sweep.again = set.sweep.again || sl.state == live && !sl.stalled && (sl.count < set.total() || s.draining)
	}
	s.keepFramesFor(sl)
}

// keepFramesFor makes the current sweep of a stream's set keep the frames that the stream
// lacks. It keeps none for a stalled or busy stream. If the set then drops frames which that
// stream lacks, [Feed.Resettle] returns the stream to the set later.
func (s *Shard) keepFramesFor(sl *slot) {
	if (sl.state == live || sl.state == lagging) && !sl.stalled && !sl.busy {
		if set := s.sets[sl.set]; set.sweep.current {
			set.sweep.minCount = min(set.sweep.minCount, sl.count)
		}
	}
}

// markDirty has a set swept, after its current sweep if there is one.
func (s *Shard) markDirty(set *Set) {
	set.sweep.dirty = true
	s.queueSweep(set)
}

// queueSweep queues a set for its next piece, unless it is queued already.
func (s *Shard) queueSweep(set *Set) {
	if !set.sweep.queued {
		set.sweep.queued = true
		s.sweeps.add(set)
	}
}

// addMember adds a stream to a set. A current sweep still visits it.
func (s *Shard) addMember(i uint32, set *Set) {
	sl := &s.slots[i]
	sl.set, sl.member = set.id, uint32(len(set.members))
	set.members = append(set.members, i)
}

// removeMember removes a stream from its set. A current sweep visits all others once.
func (s *Shard) removeMember(i uint32) {
	set := s.sets[s.slots[i].set]
	hole := int(s.slots[i].member)
	if set.sweep.current && hole < set.sweep.next {
		set.sweep.next--
		s.moveMember(set, set.sweep.next, hole)
		hole = set.sweep.next
	}
	last := len(set.members) - 1
	if hole < last {
		s.moveMember(set, last, hole)
	}
	set.members = set.members[:last]
	if last == 0 {
		s.Drop(set)
	}
}

// moveMember moves a member to another index.
func (s *Shard) moveMember(set *Set, from, to int) {
	moved := set.members[from]
	set.members[to] = moved
	s.slots[moved].member = uint32(to)
}

// makeLagging takes a stream out of the sweeps: it lacks many frames, was just attached or
// has a task. So the stream waits for no sweep, and no sweep waits for the stream.
func (s *Shard) makeLagging(i uint32) {
	sl := &s.slots[i]
	sl.state = lagging
	s.sets[sl.set].lagging++
	if sl.sink == Socket {
		s.queueLaggard(i)
	} else {
		s.queueTask(i)
	}
}

// queueLaggard queues a socket for serveLaggards, unless it is queued already.
func (s *Shard) queueLaggard(i uint32) {
	if sl := &s.slots[i]; !sl.waiting {
		sl.waiting = true
		s.laggingSockets.add(s.Name(i))
	}
}

// serveLaggards serves some of the lagging sockets.
func (s *Shard) serveLaggards() {
	for n := min(s.laggingSockets.len(), turnLaggards); n > 0; n-- {
		st := s.laggingSockets.take()
		if !s.Is(st) {
			continue
		}
		s.slots[st.Slot].waiting = false
		if s.slots[st.Slot].state != lagging {
			continue
		}
		s.serve(st.Slot)
		if !s.Is(st) || s.slots[st.Slot].state != lagging {
			continue
		}
		if sl := &s.slots[st.Slot]; !sl.stalled && sl.count < s.sets[sl.set].total() {
			s.queueLaggard(st.Slot)
		} else {
			s.makeLive(sl)
		}
	}
}

// makeLive returns a lagging stream to the sweeps.
func (s *Shard) makeLive(sl *slot) {
	s.leaveState(sl)
	sl.state = live
	if s.draining {
		s.markDirty(s.sets[sl.set])
	}
}
