package delivery

import (
	"strconv"
	"time"
)

// A Stream names a stream of a shard. The name of one that has ended is never that of
// another.
type Stream struct{ Slot, gen uint32 }

// String returns the name as it stands in logs.
func (st Stream) String() string {
	return strconv.FormatUint(uint64(st.Slot), 10) + "." + strconv.FormatUint(uint64(st.gen), 10)
}

// A slot holds a stream: 48 bytes and no pointers, so that the garbage collector does not
// look at them.
type slot struct {
	handle int32  // the descriptor of a socket, or an index of the shard's tasks
	gen    uint32 // rises when the stream ends
	pos    uint64 // of the last event that the client has, or is about to have
	count  uint64 // how far it is in its set: frames that it was handed, or that passed by
	set    uint32 // the set's id
	member uint32 // its index in the set's members
	last   uint16 // when it was last handed something, by the shard's clock

	// Of a socket: since when its host seems to be silent, by the shard's clock; 0 if it
	// does not.
	unanswered uint16

	state state
	sink  Sink
	form  uint8 // of its frames
	tag   uint8 // the feed's

	stalled bool // the socket is full, or the task has worked for more than a tick
	busy    bool // the task works
	waiting bool // it is in the queue urgent, owing or behind
	rare    bool // it has an entry in the shard's map of those
	timed   bool // it has an entry in the shard's schedule

	// Of a socket.
	armed bool // epoll tells when it is no longer full
	sent  bool // something was written since its host was last found to have everything
	tuned bool // it has the options that it is to have
}

// A state says where what a stream gets comes from.
type state uint8

const (
	vacant   state = iota // there is no stream
	live                  // from its set, when a walk comes by
	behind                // from its set, in its turn among those that are owed something
	detached              // from the feed, by Send
	closing               // there is no more
)

// An unusual holds what few streams have.
type unusual struct {
	rest  []byte    // of a frame that is on the wire in part: half a chunk is never begun again
	queue []Frame   // what comes after it. The slice may be shared with other streams
	since time.Time // when the client was last seen to take something, or when the stream was ended
	acked uint64    // bytes that its host had acknowledged then

	ending *Ending // by which it is concluded
}

// slotOf returns the number of a slot that is free, and the generation of a stream there.
func (s *Shard) slotOf() (i, gen uint32) {
	if n := len(s.free); n > 0 {
		i = s.free[n-1]
		return i, s.slots[i].gen
	}
	return uint32(len(s.slots)), 0
}

// occupy makes the slot that slotOf has returned a stream, a member of a set. It is
// detached: what it gets first is for Send to say.
func (s *Shard) occupy(i uint32, sl slot, set *Set) {
	if n := len(s.free); n > 0 {
		s.free = s.free[:n-1]
	} else {
		s.slots = append(s.slots, slot{})
	}
	sl.state, sl.last = detached, s.clock
	s.slots[i] = sl
	s.enlist(i, set)
	s.now.Open[sl.sink]++
	s.now.Opened[sl.sink]++
	s.now.Detached++
}

// Name returns the name of the stream in a slot.
func (s *Shard) Name(slot uint32) Stream { return Stream{slot, s.slots[slot].gen} }

// Is reports whether a stream has not ended.
func (s *Shard) Is(st Stream) bool {
	return int(st.Slot) < len(s.slots) && s.slots[st.Slot].gen == st.gen && s.slots[st.Slot].state != vacant
}

// SetOf returns a stream's set.
func (s *Shard) SetOf(slot uint32) *Set { return s.sets[s.slots[slot].set] }

// SinkOf returns what carries a stream.
func (s *Shard) SinkOf(slot uint32) Sink { return s.slots[slot].sink }

// Form and Tag return what the stream was opened with.
func (s *Shard) Form(slot uint32) uint8 { return s.slots[slot].form }
func (s *Shard) Tag(slot uint32) uint8  { return s.slots[slot].tag }

// Position returns that of the last event that a stream's client has, or is about to
// have.
func (s *Shard) Position(slot uint32) uint64 { return s.slots[slot].pos }

// Owed returns how many frames of its set a stream was not handed, since it was last
// attached: those that the set has dropped included.
func (s *Shard) Owed(slot uint32) uint64 {
	return s.SetOf(slot).total() - s.slots[slot].count
}

// Reached returns a position up to which a stream was handed everything that is for its
// set. Head is that of the newest frame that any set may have.
func (s *Shard) Reached(slot uint32, head uint64) uint64 {
	sl, set := &s.slots[slot], s.SetOf(slot)
	switch {
	case sl.state == detached || sl.count < set.base:
		return sl.pos
	case sl.count == set.total():
		return max(sl.pos, head)
	}
	return max(sl.pos, set.list[sl.count-set.base].Position()-1)
}

// IsDetached reports whether what a stream gets is for Send to say.
func (s *Shard) IsDetached(slot uint32) bool { return s.slots[slot].state == detached }

// IsClosing reports whether a stream was finished.
func (s *Shard) IsClosing(slot uint32) bool { return s.slots[slot].state == closing }

// Streams calls f for each stream.
func (s *Shard) Streams(f func(slot uint32)) {
	for i := range s.slots {
		if s.slots[i].state != vacant {
			f(uint32(i))
		}
	}
}

// Attach has a stream go on from its set, with the frames after a position which is not
// before [Set.From]. The position that its client has may be less.
func (s *Shard) Attach(slot uint32, position, has uint64) {
	sl := &s.slots[slot]
	set := s.sets[sl.set]
	s.leaveState(sl)
	sl.state, sl.pos = live, has
	sl.count = set.base + uint64(countUpTo(set.list, position))
	s.keepFor(sl)
	switch {
	case sl.count < set.total():
		s.fallBehind(slot)
	case s.draining:
		s.mark(set)
	}
}

// Detach has the feed say, by Send, what a stream gets.
func (s *Shard) Detach(slot uint32) {
	sl := &s.slots[slot]
	s.leaveState(sl)
	sl.state = detached
	s.now.Detached++
}

// leaveState takes note that a stream is about to be in no state or another one.
func (s *Shard) leaveState(sl *slot) {
	switch sl.state {
	case behind:
		set := s.sets[sl.set]
		if set.behind--; set.behind == 0 {
			s.mark(set) // which may drop what they were owed
		}
	case detached:
		s.now.Detached--
	}
}

// Break ends a stream at once, so that its client sees that it is not complete. A task is
// given the error.
func (s *Shard) Break(slot uint32, err error) { s.end(slot, Broken, err) }

// end ends a stream at once.
func (s *Shard) end(i uint32, reason Reason, err error) {
	sl := &s.slots[i]
	s.leaveState(sl)
	if sl.stalled {
		s.now.Stalled--
	}
	s.now.Open[sl.sink]--
	s.now.Ends[reason]++
	s.feed.Gone(i, reason)
	s.quit(i)
	ending := s.endingOf(i)
	if sl.sink == Socket {
		s.closeSocket(sl, reason)
	} else {
		// A writer that is ended while it works has not sent its last frame.
		clean := reason == Ended || reason == Concluded && ending != nil && ending.Clean && !(sl.sink == Writer && sl.busy)
		s.closeTask(sl, reason, clean, err)
	}
	if sl.rare {
		s.forget(i)
	}
	if sl.timed {
		s.unschedule()
	}
	*sl = slot{handle: -1, gen: sl.gen + 1}
	s.free = append(s.free, i)
}

// leaving returns why a stream ends whose client has closed the connection.
func (s *Shard) leaving(i uint32) Reason {
	if sl := &s.slots[i]; sl.state != closing || sl.stalled {
		return Left
	}
	if s.endingOf(i) != nil {
		return Concluded
	}
	return Ended
}

// unusual returns what few streams have, for one that now has it.
func (s *Shard) unusual(i uint32) *unusual {
	if x := s.rare[i]; x != nil {
		return x
	}
	x := new(unusual)
	s.rare[i] = x
	s.slots[i].rare = true
	return x
}

// unusualOf returns what few streams have, or nil.
func (s *Shard) unusualOf(i uint32) *unusual {
	if !s.slots[i].rare {
		return nil
	}
	return s.rare[i]
}

func (s *Shard) forget(i uint32) {
	s.mostRare = max(s.mostRare, len(s.rare))
	delete(s.rare, i)
	s.slots[i].rare = false
	if len(s.rare) == 0 && s.mostRare > 1024 {
		s.rare, s.mostRare = map[uint32]*unusual{}, 0 // what a map has grown to it keeps
	}
}
