package fanout

import (
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A Stream names a stream of a shard. The name of one that has ended is never that of
// another.
type Stream struct{ Slot, gen uint32 }

// A slot is a stream: 48 bytes and no pointers, so that the garbage collector does not
// look at them.
type slot struct {
	fd      int32
	gen     uint32 // rises when the stream ends
	pos     uint64 // of the last event that the client has, or is about to have
	count   uint64 // how far it is in its set: frames that it has got, or that passed by
	set     uint32 // the set's id
	member  uint32 // where it stands in the set's members
	last    uint16 // when it was last written to, by the shard's clock
	state   state
	form    uint8 // of its frames
	tag     uint8 // the feed's
	stalled bool  // the socket is full
	armed   bool  // epoll tells when it no longer is
	rare    bool  // it has an entry in the shard's map of those

	unanswered uint16 // since when its host seems to be silent, by the shard's clock; 0 if it does not
	sent       bool   // something was written since its host was last found to have everything
	tuned      bool   // its socket has the options that it is to have
}

// A state says where what a stream gets comes from.
type state uint8

const (
	vacant  state = iota // there is no stream
	live                 // from its set, in a walk
	behind               // from its set, in its turn among those that are owed much
	away                 // from the feed, by Send
	closing              // there is no more
)

// An unusual is what few streams have.
type unusual struct {
	rest  []byte    // of a frame that is on the wire in part: half a chunk is never begun again
	queue [][]byte  // what comes after it. The slice is shared with other streams
	since time.Time // when the client was last seen to take something, or when the stream was ended
	acked uint64    // bytes that its host had acknowledged then
}

// unsent is how much a socket may hold that was not sent yet (TCP_NOTSENT_LOWAT). A
// client that stalls would cost the kernel 4 MiB.
const unsent = 128 << 10

// tune sets a socket's options. That can wait for the second write or the first inquiry,
// and be out of the way when thousands come at once.
func (s *Shard) tune(sl *slot) {
	sl.tuned = true
	unix.SetsockoptInt(int(sl.fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
	unix.SetsockoptInt(int(sl.fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0) // see inquire
}

// Open makes a socket, which is the shard's from now on, a stream of a set. It is away,
// and what it gets first is for Send to say. Form is that of its frames; tag is the
// feed's. If the kernel refuses, the socket is closed and ok is false.
func (s *Shard) Open(fd int, set *Set, form, tag uint8) (slotNumber uint32, ok bool) {
	var i uint32
	if n := len(s.free); n > 0 {
		i = s.free[n-1]
	} else {
		i = uint32(len(s.slots))
	}
	gen := uint32(0)
	if int(i) < len(s.slots) {
		gen = s.slots[i].gen
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | edge, Fd: int32(i), Pad: int32(gen)}
	if err := unix.EpollCtl(s.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil || s.ending {
		unix.Close(fd)
		s.Yield()
		return 0, false
	}
	if int(i) < len(s.slots) {
		s.free = s.free[:len(s.free)-1]
	} else {
		s.slots = append(s.slots, slot{})
	}
	s.slots[i] = slot{fd: int32(fd), gen: gen, state: away, form: form, tag: tag, last: s.clock}
	s.join(i, set)
	s.now.Streams++
	s.now.Away++
	s.now.Opened++
	return i, true
}

// edge is EPOLLET, whose constant is negative.
const edge = 1 << 31

// Close closes a descriptor that no shard would take.
func Close(fd int) { unix.Close(fd) }

// String returns the name as it stands in logs.
func (st Stream) String() string {
	return strconv.FormatUint(uint64(st.Slot), 10) + "." + strconv.FormatUint(uint64(st.gen), 10)
}

// arm has epoll tell when a socket takes more. If it does already, it tells at once.
func (s *Shard) arm(i uint32) {
	if sl := &s.slots[i]; !sl.armed {
		sl.armed = true
		sl.armed = s.remind(i)
	}
}

// remind has epoll tell again what is so already, and reports whether it will.
func (s *Shard) remind(i uint32) bool {
	sl := &s.slots[i]
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | edge, Fd: int32(i), Pad: int32(sl.gen)}
	if sl.armed {
		ev.Events |= unix.EPOLLOUT
	}
	return unix.EpollCtl(s.epfd, unix.EPOLL_CTL_MOD, int(sl.fd), &ev) == nil
}

// Name returns the name of the stream in a slot.
func (s *Shard) Name(slot uint32) Stream { return Stream{slot, s.slots[slot].gen} }

// Is reports whether a stream has not ended.
func (s *Shard) Is(st Stream) bool {
	return int(st.Slot) < len(s.slots) && s.slots[st.Slot].gen == st.gen && s.slots[st.Slot].state != vacant
}

// SetOf returns a stream's set.
func (s *Shard) SetOf(slot uint32) *Set { return s.sets[s.slots[slot].set] }

// Form and Tag return what was given to Open.
func (s *Shard) Form(slot uint32) uint8 { return s.slots[slot].form }
func (s *Shard) Tag(slot uint32) uint8  { return s.slots[slot].tag }

// Position returns that of the last event that a stream's client has, or is about to
// have.
func (s *Shard) Position(slot uint32) uint64 { return s.slots[slot].pos }

// Owed returns how many frames of its set a stream has not got: those before the set's
// first one included.
func (s *Shard) Owed(slot uint32) uint64 {
	return s.SetOf(slot).total() - s.slots[slot].count
}

// Reached returns a position up to which a stream has got everything that is for its set.
// Head is that of the newest frame that any set may have.
func (s *Shard) Reached(slot uint32, head uint64) uint64 {
	sl, set := &s.slots[slot], s.SetOf(slot)
	switch {
	case sl.state == away || sl.count < set.base:
		return sl.pos
	case sl.count == set.total():
		return max(sl.pos, head)
	}
	return max(sl.pos, set.list[sl.count-set.base].Position()-1)
}

// IsAway reports whether what a stream gets is for Send to say.
func (s *Shard) IsAway(slot uint32) bool { return s.slots[slot].state == away }

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

// end ends a stream at once.
func (s *Shard) end(i uint32, reason Reason) {
	sl := &s.slots[i]
	s.leaveState(sl)
	if sl.stalled {
		s.now.Stalled--
	}
	s.now.Streams--
	s.now.Ends[reason]++
	s.feed.Gone(i, reason)
	s.quit(i)
	if reason == TimedOut {
		// Otherwise the kernel goes on offering the client what it does not take.
		unix.SetsockoptLinger(int(sl.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	unix.Close(int(sl.fd)) // the only descriptor: epoll forgets it too
	if sl.rare {
		s.forget(i)
	}
	*sl = slot{fd: -1, gen: sl.gen + 1}
	s.free = append(s.free, i)
	s.Yield()
}

// Break ends a stream at once, so that its client sees that it is not complete.
func (s *Shard) Break(slot uint32) { s.end(slot, Broken) }

// leaveState takes note that a stream is about to be in no state or another one.
func (s *Shard) leaveState(sl *slot) {
	switch sl.state {
	case behind:
		set := s.sets[sl.set]
		if set.behind--; set.behind == 0 {
			s.mark(set) // which no longer has to keep what they were owed
		}
	case away:
		s.now.Away--
	}
}

// leaving returns why a stream ends whose client has closed the connection.
func (s *Shard) leaving(i uint32) Reason {
	if sl := &s.slots[i]; sl.state == closing && !sl.stalled {
		return Ended
	}
	return Left
}

// Place has a stream go on from its set, with the frames after a position which is
// not before [Set.From]. The position that its client has may be less.
func (s *Shard) Place(slot uint32, position, has uint64) {
	sl := &s.slots[slot]
	set := s.sets[sl.set]
	s.leaveState(sl)
	sl.state, sl.pos = live, has
	sl.count = set.base + uint64(countUpTo(set.list, position))
	switch {
	case sl.count < set.total():
		s.fallBehind(slot)
	case s.draining:
		s.mark(set)
	}
}

// Leave has the feed say, by Send, what a stream gets.
func (s *Shard) Leave(slot uint32) {
	sl := &s.slots[slot]
	s.leaveState(sl)
	sl.state = away
	s.now.Away++
}

// fallBehind has a live stream served in its turn among those that are owed much, or have
// just come, so that it does not wait for a walk, and no walk for it.
func (s *Shard) fallBehind(i uint32) {
	s.slots[i].state = behind
	s.sets[s.slots[i].set].behind++
	s.behind.add(s.Name(i))
}

// hurry serves some of those that have to catch up.
func (s *Shard) hurry() {
	for n := min(s.behind.len(), turnBehind); n > 0; n-- {
		st := s.behind.take()
		if !s.Is(st) || s.slots[st.Slot].state != behind {
			continue
		}
		s.serve(st.Slot)
		if !s.Is(st) || s.slots[st.Slot].state != behind {
			continue
		}
		sl := &s.slots[st.Slot]
		set := s.sets[sl.set]
		if !sl.stalled && sl.count < set.total() {
			s.behind.add(st)
			continue
		}
		s.leaveState(sl)
		sl.state = live
		if s.draining {
			s.mark(set)
		}
	}
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

func (s *Shard) forget(i uint32) {
	s.mostRare = max(s.mostRare, len(s.rare))
	delete(s.rare, i)
	s.slots[i].rare = false
	if len(s.rare) == 0 && s.mostRare > 1024 {
		s.rare, s.mostRare = map[uint32]*unusual{}, 0 // what a map has grown to it keeps
	}
}
