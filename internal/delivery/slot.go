package delivery

import (
	"slices"
	"strconv"
	"time"
)

// A Stream identifies a stream of a shard. No later stream of the shard is equal to it.
type Stream struct{ Slot, gen uint32 }

// String returns the stream's name in logs.
func (st Stream) String() string {
	return strconv.FormatUint(uint64(st.Slot), 10) + "." + strconv.FormatUint(uint64(st.gen), 10)
}

// A slot holds a stream in 48 bytes without pointers, so that the garbage collector does not
// scan slots.
type slot struct {
	handle     int32  // the descriptor of a socket, or an index in Shard.tasks
	gen        uint32 // generation: increases when the stream ends
	pos        uint64 // position of the last event that the client has or is about to get
	count      uint64 // count of the set's frames that were handed over or skipped
	set        uint32 // the set's id
	member     uint32 // index in Set.members
	lastActive uint16 // Shard.clock when the sink last took something

	// Sockets only: Shard.clock when the peer seemed to stop acknowledging, or 0.
	unackedSince uint16

	state state
	sink  Sink
	form  uint8 // of the stream's frames
	tag   uint8 // belongs to the feed

	stalled         bool // the socket is full, or the task made no progress for over a tick
	busy            bool // the task works
	waiting         bool // in the queue pendingTasks, laggingTasks or laggingSockets
	hasPendingWrite bool // has an entry in Shard.pendingWrites
	scheduled       bool // has an entry in Shard.ends

	// Sockets only.
	armed   bool // epoll reports when the socket is no longer full
	unacked bool // bytes were written since the peer had acknowledged everything
	tuned   bool // tune has set the socket's options
}

// A state says where a stream's frames come from.
type state uint8

const (
	vacant   state = iota // there is no stream
	live                  // from the set, during a sweep
	lagging               // from the set, by serveLaggards or prepareTasks
	detached              // from the feed, with Send
	closing               // there are no more
)

// A pendingWrite holds what goes out before frames of the set. Few streams have one.
type pendingWrite struct {
	rest  []byte    // the end of a partly written frame: a chunk must be completed
	pin   Pinner    // the frame of rest, if it is of the set; or nil
	queue []Frame   // frames after rest; other streams may share the slice
	since time.Time // when the client last took something, or when the stream was ended
	acked uint64    // bytes that the peer had acknowledged at that time
	has   uint64    // position of the client before the frames of queue

	// Of a stream that is closing.
	reason    Reason
	concluded bool // by Conclude: the client has only a short time to take the rest
	shut      bool // the socket: no more bytes follow
}

// finishRest forgets rest, which was written.
func (pw *pendingWrite) finishRest() {
	pw.rest = nil
	if pw.pin != nil {
		pw.pin.Unpin()
		pw.pin = nil
	}
}

// advance removes frames from the queue that were handed over.
func (pw *pendingWrite) advance(frames int) {
	for _, f := range slices.Backward(pw.queue[:frames]) {
		if position := f.Position(); position > 0 {
			pw.has = position
			break
		}
	}
	pw.queue = pw.queue[frames:]
}

// freeSlot returns a vacant slot and the generation of its next stream.
func (s *Shard) freeSlot() (i, gen uint32) {
	if n := len(s.free); n > 0 {
		i = s.free[n-1]
		return i, s.slots[i].gen
	}
	return uint32(len(s.slots)), 0
}

// occupy puts a stream into the slot that freeSlot returned, and adds it to a set. The stream
// is detached: the feed must send its first frames.
func (s *Shard) occupy(i uint32, sl slot, set *Set) {
	if n := len(s.free); n > 0 {
		s.free = s.free[:n-1]
	} else {
		s.slots = append(s.slots, slot{})
	}
	sl.state, sl.lastActive = detached, s.clock
	s.slots[i] = sl
	s.addMember(i, set)
	s.stats.Open[sl.sink]++
	s.stats.Opened[sl.sink]++
	s.stats.Detached++
}

// Name returns the Stream in a slot.
func (s *Shard) Name(slot uint32) Stream { return Stream{slot, s.slots[slot].gen} }

// Is reports whether a stream is still open.
func (s *Shard) Is(st Stream) bool {
	return int(st.Slot) < len(s.slots) && s.slots[st.Slot].gen == st.gen && s.slots[st.Slot].state != vacant
}

// SetOf returns a stream's set.
func (s *Shard) SetOf(slot uint32) *Set { return s.sets[s.slots[slot].set] }

// SinkOf returns a stream's sink.
func (s *Shard) SinkOf(slot uint32) Sink { return s.slots[slot].sink }

// Form and Tag return the values with which a stream was opened.
func (s *Shard) Form(slot uint32) uint8 { return s.slots[slot].form }
func (s *Shard) Tag(slot uint32) uint8  { return s.slots[slot].tag }

// Position returns the position of the last event that the client has or is about to get.
func (s *Shard) Position(slot uint32) uint64 { return s.slots[slot].pos }

// Place sets the position of a client before it is sent anything.
func (s *Shard) Place(slot uint32, position uint64) { s.slots[slot].pos = position }

// Owed returns how many frames of its set a stream has not been handed since it was last
// attached, including those that the set has dropped.
func (s *Shard) Owed(slot uint32) uint64 {
	return s.SetOf(slot).total() - s.slots[slot].count
}

// Reached returns a position up to which a stream has been handed all frames of its set.
// newest is the position of the newest frame of any set.
func (s *Shard) Reached(slot uint32, newest uint64) uint64 {
	sl, set := &s.slots[slot], s.SetOf(slot)
	switch {
	case sl.state == detached || sl.count < set.base:
		return sl.pos
	case sl.count == set.total():
		return max(sl.pos, newest)
	}
	return max(sl.pos, set.frames[sl.count-set.base].Position()-1)
}

// IsDetached reports whether a stream gets its frames from the feed, with Send.
func (s *Shard) IsDetached(slot uint32) bool { return s.slots[slot].state == detached }

// IsClosing reports whether a stream was finished or concluded.
func (s *Shard) IsClosing(slot uint32) bool { return s.slots[slot].state == closing }

// Streams calls f for each open stream.
func (s *Shard) Streams(f func(slot uint32)) {
	for i := range s.slots {
		if s.slots[i].state != vacant {
			f(uint32(i))
		}
	}
}

// Attach lets a stream continue from its set, with the frames after position. position is
// not before [Set.From]. has is the client's position. It may be less than position.
func (s *Shard) Attach(slot uint32, position, has uint64) {
	sl := &s.slots[slot]
	set := s.sets[sl.set]
	s.leaveState(sl)
	sl.state, sl.pos = live, has
	sl.count = set.base + uint64(countUpTo(set.frames, position))
	s.keepFramesFor(sl)
	switch {
	case sl.count < set.total():
		s.makeLagging(slot)
	case s.draining:
		s.markDirty(set)
	}
}

// Detach stops frames of the set. The stream then gets only frames from the feed, with Send.
func (s *Shard) Detach(slot uint32) {
	sl := &s.slots[slot]
	s.leaveState(sl)
	sl.state = detached
	s.stats.Detached++
}

// leaveState adjusts the counters before a stream changes its state or ends.
func (s *Shard) leaveState(sl *slot) {
	switch sl.state {
	case lagging:
		set := s.sets[sl.set]
		if set.lagging--; set.lagging == 0 {
			s.markDirty(set) // a sweep may drop frames that the lagging streams needed
		}
	case detached:
		s.stats.Detached--
	}
}

// Break ends a stream at once, so that its client sees an incomplete response. A task gets
// the error.
func (s *Shard) Break(slot uint32, err error) { s.end(slot, Broken, err) }

// end ends a stream at once.
func (s *Shard) end(i uint32, reason Reason, err error) {
	sl := &s.slots[i]
	s.leaveState(sl)
	if sl.stalled {
		s.stats.Stalled--
	}
	s.stats.Open[sl.sink]--
	s.stats.Ends[reason]++
	s.feed.Gone(i, reason)
	s.removeMember(i)
	if sl.sink == Socket {
		s.closeSocket(i, reason)
	} else {
		if reason == Finished && sl.sink == Writer && sl.busy {
			err = errBusy
		}
		s.closeTask(sl, reason, err)
	}
	if sl.hasPendingWrite {
		s.dropPendingWrite(i)
	}
	if sl.scheduled {
		s.dropStaleEnds()
	}
	*sl = slot{handle: -1, gen: sl.gen + 1}
	s.free = append(s.free, i)
}

// disconnectReason returns the reason of a stream whose client has closed the connection.
func (s *Shard) disconnectReason(i uint32) Reason {
	if sl := &s.slots[i]; sl.state != closing || sl.stalled {
		return Left
	}
	return s.pendingWrites[i].reason
}

// ensurePendingWrite returns a stream's pendingWrite, and creates it if there is none.
func (s *Shard) ensurePendingWrite(i uint32) *pendingWrite {
	if pw := s.pendingWrites[i]; pw != nil {
		return pw
	}
	pw := new(pendingWrite)
	s.pendingWrites[i] = pw
	s.slots[i].hasPendingWrite = true
	return pw
}

// pendingWriteOf returns a stream's pendingWrite, or nil.
func (s *Shard) pendingWriteOf(i uint32) *pendingWrite {
	if !s.slots[i].hasPendingWrite {
		return nil
	}
	return s.pendingWrites[i]
}

func (s *Shard) dropPendingWrite(i uint32) {
	s.mostPendingWrites = max(s.mostPendingWrites, len(s.pendingWrites))
	s.pendingWrites[i].finishRest()
	delete(s.pendingWrites, i)
	s.slots[i].hasPendingWrite = false
	if len(s.pendingWrites) == 0 && s.mostPendingWrites > 1024 {
		s.pendingWrites, s.mostPendingWrites = map[uint32]*pendingWrite{}, 0 // a map never shrinks
	}
}
