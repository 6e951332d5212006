package fanout

import (
	"time"

	"golang.org/x/sys/unix"
)

// ticked does what time asks for.
func (s *Shard) ticked() {
	s.time = time.Now()
	s.clock++
	for i, x := range s.rare {
		sl := &s.slots[i]
		since := s.time.Sub(x.since) - s.tick // it was taken from the tick before
		switch {
		case sl.stalled && since > s.opts.WriteTimeout:
			s.end(i, TimedOut)
		case sl.state == closing && !sl.stalled && since > linger:
			s.end(i, Ended)
		}
	}
	if s.due >= len(s.slots) {
		s.due = 0
	}
	s.group.giveBack(s.time.Sub(s.lastOpen))
}

// turnScan is how many streams are looked at for that at a time.
const turnScan = 4096

// beat sends keep-alives to some of the streams that were silent for long enough.
func (s *Shard) beat() {
	if s.opts.KeepAlive <= 0 || s.draining {
		s.due = len(s.slots)
		return
	}
	limit := max(1, uint16(min(s.opts.KeepAlive/s.tick, 1<<15)))
	end := min(len(s.slots), s.due+turnScan)
	for sent := 0; s.due < end && sent < turnBeats; s.due++ {
		sl := &s.slots[s.due]
		early := uint16(uint32(s.due)*2654435761>>16) % (limit/8 + 1)
		if s.clock-sl.last < limit-early || sl.stalled || sl.rare {
			continue
		}
		if sl.state == away || sl.state == live && sl.count == s.sets[sl.set].total() {
			pieces, position := s.feed.KeepAlive(uint32(s.due))
			s.Send(uint32(s.due), pieces, position)
			sent++
		}
	}
}

// discard reads what a client sends after its request, and throws it away. It returns
// false if the client has nothing more to send, and the stream has ended with that.
func (s *Shard) discard(i uint32) bool {
	// With MSG_TRUNC the kernel discards so much without copying it.
	const enough = 64 << 10
	for range 4 { // what is left then stays in the kernel, which takes no more of it
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.slots[i].fd), 0, enough, unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		switch {
		case errno == unix.EAGAIN || errno == unix.EINTR:
			return true
		case errno != 0 || n == 0:
			s.end(i, s.leaving(i))
			return false
		}
	}
	return true
}
