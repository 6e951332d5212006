package fanout

import (
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a stream is written at a time. 1,024 slices are the most that writev takes.
const (
	burstFrames = 256
	burstBytes  = 128 << 10
)

// finalChunk ends a chunked body (RFC 9112, section 7.1).
var finalChunk = [][]byte{[]byte("0\r\n\r\n")}

// A batch is what is written to one socket at once. It has pieces of three kinds, in
// this order: what is left of a frame, the queue's, and the set's frames.
type batch struct {
	iov    [burstFrames]unix.Iovec
	n      int
	bytes  int
	rest   int // 1 if there is what is left of a frame
	queued int
	first  int // index in the set's list of its first frame here
}

// add adds a piece, and reports whether another one may follow.
func (b *batch) add(piece []byte) bool {
	b.iov[b.n].Base = &piece[0]
	b.iov[b.n].SetLen(len(piece))
	b.n++
	b.bytes += len(piece)
	return b.n < len(b.iov) && b.bytes < burstBytes
}

// collect fills the batch with what comes next for a stream. It returns false if a
// frame cannot be had.
func (s *Shard) collect(sl *slot, x *unusual) bool {
	b := &s.batch
	b.n, b.bytes, b.rest, b.queued = 0, 0, 0, 0
	if x != nil {
		if len(x.rest) > 0 {
			b.rest = 1
			if !b.add(x.rest) {
				return true
			}
		}
		for _, piece := range x.queue {
			b.queued++
			if !b.add(piece) {
				return true
			}
		}
	}
	set := s.sets[sl.set]
	if sl.state != live && sl.state != behind || sl.count < set.base {
		return true
	}
	for sl.count < set.total() && set.list[sl.count-set.base].Position() <= sl.pos {
		sl.count++ // it has had that, elsewhere
	}
	b.first = int(sl.count - set.base)
	for _, f := range set.list[b.first:] {
		piece := f.Wire(sl.form)
		if piece == nil {
			return false
		}
		if !b.add(piece) {
			break
		}
	}
	return true
}

// write writes the batch, and returns how much of it the socket took. Calls that do
// not wait are made without telling Go's scheduler, which costs an eighth of a write.
func (s *Shard) write(fd int32) (int, unix.Errno) {
	b := &s.batch
	s.now.Writes++
	for {
		var n uintptr
		var errno unix.Errno
		if b.n == 1 {
			n, _, errno = unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(b.iov[0].Base)), uintptr(b.iov[0].Len))
		} else {
			n, _, errno = unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&b.iov[0])), uintptr(b.n))
		}
		switch errno {
		case 0:
			return int(n), 0
		case unix.EAGAIN:
			return 0, 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// Send gives a stream what goes out before anything else, and the position that the
// client has with it. The slice may be shared; it is only read.
func (s *Shard) Send(slot uint32, pieces [][]byte, position uint64) {
	sl := &s.slots[slot]
	sl.pos = position
	x := s.unusual(slot)
	if len(x.queue) > 0 {
		pieces = slices.Concat(x.queue, pieces)
	}
	x.queue = pieces
	if !sl.stalled {
		s.serve(slot)
	}
}

// Finish ends a stream cleanly, after what it was sent.
func (s *Shard) Finish(slot uint32) {
	sl := &s.slots[slot]
	s.leaveState(sl)
	sl.state = closing
	s.Send(slot, finalChunk, sl.pos)
}

// serve writes to a stream what comes next, and does what follows from that. It may
// end the stream.
func (s *Shard) serve(i uint32) {
	sl := &s.slots[i]
	for {
		var x *unusual
		if sl.rare {
			x = s.rare[i]
		}
		if !s.collect(sl, x) {
			s.end(i, Broken)
			return
		}
		b := &s.batch
		if b.n > 0 {
			if sl.sent && !sl.tuned {
				s.tune(sl)
			}
			n, errno := s.write(sl.fd)
			if errno != 0 {
				s.end(i, s.leaving(i))
				return
			}
			s.now.Bytes += uint64(n)
			if n > 0 {
				sl.last, sl.sent = s.clock, true
			}
			if n < b.bytes {
				s.partly(i, n)
				return
			}
			s.handed(sl, b.n-b.rest-b.queued)
		}
		if x == nil {
			if sl.state != away && sl.count < s.sets[sl.set].base {
				s.feed.Resettle(i)
			}
			return
		}
		x.rest, x.queue = nil, x.queue[b.queued:]
		if len(x.queue) == 0 {
			s.proceed(i, x)
			return
		}
	}
}

// proceed does what comes when all is written that a stream had of its own.
func (s *Shard) proceed(i uint32, x *unusual) {
	sl := &s.slots[i]
	if sl.stalled {
		sl.stalled = false
		s.now.Stalled--
	}
	if sl.state == closing {
		unix.Shutdown(int(sl.fd), unix.SHUT_WR)
		x.since = s.time
		return
	}
	s.forget(i)
	set := s.sets[sl.set]
	switch {
	case sl.state == away:
		s.feed.Written(i)
	case sl.count < set.base:
		s.feed.Resettle(i)
	case sl.state == live && sl.count < set.total():
		s.fallBehind(i)
	case s.draining:
		s.mark(set)
	}
}

// handed takes note that a stream has so many more frames of its set.
func (s *Shard) handed(sl *slot, frames int) {
	if frames > 0 {
		sl.count += uint64(frames)
		sl.pos = s.sets[sl.set].list[s.batch.first+frames-1].Position()
		s.now.Deliveries += uint64(frames)
	}
}

// partly takes note that of the batch a socket took only n bytes, so is full.
func (s *Shard) partly(i uint32, n int) {
	s.now.Short++
	sl, x, b := &s.slots[i], s.unusual(i), &s.batch
	if n > 0 || !sl.stalled {
		x.since = s.time
	}
	whole := 0 // pieces that it took
	for n >= int(b.iov[whole].Len) {
		n -= int(b.iov[whole].Len)
		whole++
	}
	if b.rest == 1 {
		if whole == 0 {
			x.rest = x.rest[n:]
			s.stall(i)
			return
		}
		x.rest = nil
	}
	queued := min(whole-b.rest, b.queued)
	frames := whole - b.rest - queued
	if n > 0 { // of the next piece a part is on the wire
		if queued < b.queued {
			x.rest = x.queue[queued][n:]
			queued++
		} else {
			x.rest = s.sets[sl.set].list[b.first+frames].Wire(sl.form)[n:]
			frames++
		}
	}
	x.queue = x.queue[queued:]
	s.handed(sl, frames)
	s.stall(i)
}

// stall has a stream wait until its socket takes more.
func (s *Shard) stall(i uint32) {
	if sl := &s.slots[i]; !sl.stalled {
		sl.stalled = true
		s.now.Stalled++
		s.arm(i)
	}
}
