package delivery

import (
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockets is what a shard has for its streams on sockets. The zero value is for a shard
// without.
type sockets struct {
	ep      *os.File // nil where there are none
	epfd    int
	watched chan struct{} // closed when nobody waits for epoll any more

	events [64]unix.EpollEvent
	info   unix.TCPInfo
	iov    [burstFrames]unix.Iovec
}

// reserve is how many descriptors are left to everything that is not a stream, so
// that there are some to say no with.
const reserve = 256

// socketRoom returns how many streams on sockets there may be, by the limit of open files.
func socketRoom() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt
	}
	most := int(min(limit.Cur, 1<<30))
	return most - min(reserve, most/4)
}

// openSockets has the shard serve sockets, too.
func (s *Shard) openSockets() error {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("delivery: epoll: %w", err)
	}
	// Go's poller watches it if it does not block.
	if err := unix.SetNonblock(epfd, true); err != nil {
		unix.Close(epfd)
		return fmt.Errorf("delivery: epoll: %w", err)
	}
	k := &s.sockets
	k.ep, k.epfd, k.watched = os.NewFile(uintptr(epfd), "epoll"), epfd, make(chan struct{})
	raw, err := k.ep.SyscallConn()
	if err != nil {
		k.ep.Close()
		return fmt.Errorf("delivery: epoll: %w", err)
	}
	go s.watch(raw)
	return nil
}

// watch wakes the shard when epoll has events. The function never says that it is
// done, so that Go's poller forgets no edge between two calls.
func (s *Shard) watch(raw syscall.RawConn) {
	defer close(s.sockets.watched)
	raw.Read(func(uintptr) bool {
		s.Wake()
		return false
	})
}

// close is called when the shard's goroutine has ended. Closing again does nothing.
func (k *sockets) close() error {
	if k.ep == nil {
		return nil
	}
	err := k.ep.Close()
	<-k.watched
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	return err
}

// Open makes a socket, which is the shard's from now on, a stream of a set, in a place of
// [Group.Take]. It is detached, and what it gets first is for Send to say. Form is that
// of its frames; tag is the feed's. If the kernel refuses, or the shard is closing, the
// socket is closed and ok is false.
func (s *Shard) Open(fd int, set *Set, form, tag uint8) (slotNumber uint32, ok bool) {
	i, gen := s.slotOf()
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | edge, Fd: int32(i), Pad: int32(gen)}
	if err := unix.EpollCtl(s.sockets.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil || s.ending {
		unix.Close(fd)
		s.Yield()
		return 0, false
	}
	s.occupy(i, slot{handle: int32(fd), gen: gen, sink: Socket, form: form, tag: tag}, set)
	return i, true
}

// edge is EPOLLET, whose constant is negative.
const edge = 1 << 31

// Close closes a descriptor that no shard would take.
func Close(fd int) { unix.Close(fd) }

// closeSocket closes the descriptor of a stream that has ended.
func (s *Shard) closeSocket(sl *slot, reason Reason) {
	if reason == TimedOut {
		// Otherwise the kernel goes on offering the client what it does not take.
		unix.SetsockoptLinger(int(sl.handle), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	unix.Close(int(sl.handle)) // the only descriptor: epoll forgets it too
	s.Yield()
}

// shutSocket says that no more will be sent.
func (s *Shard) shutSocket(sl *slot) { unix.Shutdown(int(sl.handle), unix.SHUT_WR) }

// unsent is how much a socket may hold that was not sent yet (TCP_NOTSENT_LOWAT). A
// client that stalls would cost the kernel 4 MiB.
const unsent = 128 << 10

// tune sets a socket's options. That can wait for the second write or the first inquiry,
// and be out of the way when thousands come at once.
func (s *Shard) tune(sl *slot) {
	sl.tuned = true
	unix.SetsockoptInt(int(sl.handle), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
	unix.SetsockoptInt(int(sl.handle), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0) // see inquire
}

// poll takes what epoll has to tell, and reports whether there may be more.
func (s *Shard) poll() (more bool) {
	k := &s.sockets
	if k.ep == nil {
		return false
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(k.epfd),
		uintptr(unsafe.Pointer(&k.events[0])), uintptr(len(k.events)), 0, 0, 0)
	if errno != 0 {
		return errno == unix.EINTR
	}
	for _, ev := range k.events[:n] {
		s.happened(Stream{uint32(ev.Fd), uint32(ev.Pad)}, ev.Events)
	}
	return int(n) == len(k.events)
}

// happened takes note of what has happened to a stream's socket.
func (s *Shard) happened(st Stream, events uint32) {
	if !s.Is(st) {
		return
	}
	switch {
	case events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0:
		s.end(st.Slot, s.leaving(st.Slot), nil)
		return
	case events&unix.EPOLLIN != 0 && !s.discard(st.Slot):
		return
	}
	if events&unix.EPOLLOUT != 0 && s.slots[st.Slot].stalled {
		s.serve(st.Slot)
	}
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
	return unix.EpollCtl(s.sockets.epfd, unix.EPOLL_CTL_MOD, int(sl.handle), &ev) == nil
}

// discard reads what a client sends after its request, and throws it away. It returns
// false if the client has nothing more to send, and the stream has ended with that.
func (s *Shard) discard(i uint32) bool {
	// With MSG_TRUNC the kernel discards so much without copying it.
	const enough = 64 << 10
	for range 4 {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.slots[i].handle), 0, enough, unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		switch {
		case errno == unix.EAGAIN || errno == unix.EINTR:
			return true
		case errno != 0 || n == 0:
			s.end(i, s.leaving(i), nil)
			return false
		}
	}
	s.remind(i) // others have their turn first
	return true
}

// write writes the batch, and returns how much of it the socket took. Calls that do
// not wait are made without telling Go's scheduler, which costs an eighth of a write.
func (s *Shard) write(fd int32) (int, unix.Errno) {
	b, k := &s.batch, &s.sockets
	s.now.Writes++
	if b.n > 1 && !b.laid {
		b.laid = true
		for i, piece := range b.pieces[:b.n] {
			k.iov[i].Base = &piece[0]
			k.iov[i].SetLen(len(piece))
		}
	}
	for {
		var n uintptr
		var errno unix.Errno
		if b.n == 1 {
			n, _, errno = unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b.pieces[0][0])), uintptr(len(b.pieces[0])))
		} else {
			n, _, errno = unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&k.iov[0])), uintptr(b.n))
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

// serveSocket writes to a stream what comes next, and does what follows from that. It may
// end the stream.
func (s *Shard) serveSocket(i uint32) {
	sl := &s.slots[i]
	for {
		x := s.unusualOf(i)
		if !s.collect(sl, x) {
			s.end(i, Broken, errNoWire)
			return
		}
		b := &s.batch
		if b.n > 0 {
			if sl.sent && !sl.tuned {
				s.tune(sl)
			}
			n, errno := s.write(sl.handle)
			if errno != 0 {
				s.end(i, s.leaving(i), nil)
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
			if sl.state != detached && sl.count < s.sets[sl.set].base {
				s.feed.Resettle(i)
			}
			return
		}
		x.rest, x.queue = nil, x.queue[b.queued:]
		if len(x.queue) == 0 {
			s.proceed(i)
			return
		}
	}
}

// partly takes note that of the batch a socket took only n bytes, so is full.
func (s *Shard) partly(i uint32, n int) {
	s.now.Short++
	sl, x, b := &s.slots[i], s.unusual(i), &s.batch
	if x.ending == nil && (n > 0 || !sl.stalled) {
		x.since = s.time
	}
	whole := 0 // pieces that it took
	for n >= len(b.pieces[whole]) {
		n -= len(b.pieces[whole])
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
		x.rest = b.pieces[whole][n:]
		if queued < b.queued {
			queued++
		} else {
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

// tickSocket looks at a stream that is stalled or closing, once a tick.
func (s *Shard) tickSocket(i uint32, x *unusual) {
	sl := &s.slots[i]
	since := s.time.Sub(x.since) - s.tick // it was taken from the tick before
	ask := (s.clock+uint16(i))%s.inquiry == 0 || since > s.opts.WriteTimeout
	if sl.stalled && ask && s.ask(sl) && s.sockets.info.Bytes_acked != x.acked {
		x.acked, x.since, since = s.sockets.info.Bytes_acked, s.time, 0 // it takes something, if not enough for more
	}
	switch {
	case sl.stalled && since > s.opts.WriteTimeout:
		s.end(i, TimedOut, nil)
	case sl.state == closing && !sl.stalled && since > linger:
		s.end(i, Ended, nil)
	}
}

// inquiries is how many times within the write timeout the kernel is asked.
const inquiries = 6

// ask asks the kernel about a stream's connection, and reports whether it has told.
func (s *Shard) ask(sl *slot) bool {
	info := &s.sockets.info
	size := uint32(unsafe.Sizeof(*info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(sl.handle), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(info)), uintptr(unsafe.Pointer(&size)), 0)
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
	info := &s.sockets.info
	silent := time.Duration(info.Last_ack_recv) * time.Millisecond
	waited := time.Duration(s.clock-sl.unanswered) * s.tick
	switch {
	case info.Unacked == 0 && info.Notsent_bytes == 0:
		sl.unanswered, sl.sent = 0, false
	case sl.unanswered == 0 || silent < waited:
		sl.unanswered = max(1, s.clock)
	case waited > s.opts.WriteTimeout:
		s.end(i, TimedOut, nil)
	}
}
