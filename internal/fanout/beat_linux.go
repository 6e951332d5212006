package fanout

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ticked does what time asks for.
func (s *Shard) ticked() {
	s.time = time.Now()
	s.clock++
	for i, x := range s.rare {
		sl := &s.slots[i]
		since := s.time.Sub(x.since) - s.tick // it was taken from the tick before
		ask := (s.clock+uint16(i))%s.inquiry == 0 || since > s.opts.WriteTimeout
		if sl.stalled && ask && s.ask(sl) && s.info.Bytes_acked != x.acked {
			x.acked, x.since, since = s.info.Bytes_acked, s.time, 0 // it takes something, if not enough for more
		}
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
}

// turnScan is how many streams are looked at for that at a time.
const turnScan = 4096

// beat looks at some of the streams: whether they are due for a keep-alive, and whether
// their host is still there.
func (s *Shard) beat() {
	keepAlive := uint16(max(0, min(s.opts.KeepAlive/s.tick, 1<<15)))
	end := min(len(s.slots), s.due+turnScan)
	for work := 0; s.due < end && work < turnBeats; s.due++ {
		i := uint32(s.due)
		sl := &s.slots[i]
		if sl.state == vacant {
			continue
		}
		if sl.sent && (s.clock+uint16(i))%s.inquiry == 0 {
			work++
			if s.inquire(i); sl.state == vacant {
				continue
			}
		}
		early := uint16(i*2654435761>>16) % (keepAlive/8 + 1)
		if s.opts.KeepAlive <= 0 || s.draining || s.clock-sl.last < max(1, keepAlive-early) || sl.stalled || sl.rare {
			continue
		}
		if sl.state == away || sl.state == live && sl.count == s.sets[sl.set].total() {
			work++
			pieces, position := s.feed.KeepAlive(i)
			s.Send(i, pieces, position)
		}
	}
}

// inquiries is how many times within the write timeout the kernel is asked.
const inquiries = 6

// ask asks the kernel about a stream's connection, and reports whether it has told.
func (s *Shard) ask(sl *slot) bool {
	size := uint32(unsafe.Sizeof(s.info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(sl.fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&s.info)), uintptr(unsafe.Pointer(&size)), 0)
	return errno == 0
}

// inquire ends a stream whose host has acknowledged nothing for the write timeout though
// there was something to. Other than with TCP_USER_TIMEOUT, which counts the time during
// which a small window is full, one that reads slowly is not cut off.
func (s *Shard) inquire(i uint32) {
	sl := &s.slots[i]
	if !sl.tuned {
		s.tune(sl)
	}
	if !s.ask(sl) {
		return
	}
	silent := time.Duration(s.info.Last_ack_recv) * time.Millisecond
	waited := time.Duration(s.clock-sl.unanswered) * s.tick
	switch {
	case s.info.Unacked == 0 && s.info.Notsent_bytes == 0:
		sl.unanswered, sl.sent = 0, false
	case sl.unanswered == 0 || silent < waited:
		sl.unanswered = max(1, s.clock)
	case waited > s.opts.WriteTimeout:
		s.end(i, TimedOut)
	}
}

// discard reads what a client sends after its request, and throws it away. It returns
// false if the client has nothing more to send, and the stream has ended with that.
func (s *Shard) discard(i uint32) bool {
	// With MSG_TRUNC the kernel discards so much without copying it.
	const enough = 64 << 10
	for range 4 {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.slots[i].fd), 0, enough, unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		switch {
		case errno == unix.EAGAIN || errno == unix.EINTR:
			return true
		case errno != 0 || n == 0:
			s.end(i, s.leaving(i))
			return false
		}
	}
	s.remind(i) // others have their turn first
	return true
}
