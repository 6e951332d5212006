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

// sockets is a shard's state for streams on sockets. A shard without them has the zero value.
type sockets struct {
	ep      *os.File // nil in a shard without sockets
	epfd    int
	watched chan struct{} // closed when watch has returned

	received map[uint32]int // bytes that clients have sent after their requests, by slot

	events [64]unix.EpollEvent
	info   unix.TCPInfo
	iov    [burstFrames]unix.Iovec
}

// spareDescriptors is how many descriptors are left for all other uses, so that requests can
// still be accepted and refused.
const spareDescriptors = 256

// socketLimit returns how many streams on sockets the limit of open files allows.
func socketLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt
	}
	most := int(min(limit.Cur, 1<<30))
	return most - min(spareDescriptors, most/4)
}

// openSockets prepares the shard for streams on sockets.
func (s *Shard) openSockets() error {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("delivery: epoll: %w", err)
	}
	// Go's poller only watches descriptors that do not block.
	if err := unix.SetNonblock(epfd, true); err != nil {
		unix.Close(epfd)
		return fmt.Errorf("delivery: epoll: %w", err)
	}
	k := &s.sockets
	k.ep, k.epfd, k.watched = os.NewFile(uintptr(epfd), "epoll"), epfd, make(chan struct{})
	k.received = map[uint32]int{}
	raw, err := k.ep.SyscallConn()
	if err != nil {
		k.ep.Close()
		return fmt.Errorf("delivery: epoll: %w", err)
	}
	go s.watch(raw)
	return nil
}

// watch wakes the shard when epoll has events. The function never reports that it is done:
// Read goes on waiting, and Go's poller loses no edge between two calls.
func (s *Shard) watch(raw syscall.RawConn) {
	defer close(s.sockets.watched)
	raw.Read(func(uintptr) bool {
		s.Wake()
		return false
	})
}

// close is called when the shard's goroutine has ended. Further calls do nothing.
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

// Open makes a socket a stream of a set, in a reservation of [Group.Take]. The shard owns the
// socket from now on. The stream is detached: the feed must send its first frames. form is
// the form of its frames, and tag is for the feed. If the kernel refuses or the shard is
// closing, ok is false, and the socket remains the caller's. The reservation is given back.
func (s *Shard) Open(fd int, set *Set, form, tag uint8) (slotNumber uint32, ok bool) {
	i, gen := s.freeSlot()
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | edge, Fd: int32(i), Pad: int32(gen)}
	if s.closing || unix.EpollCtl(s.sockets.epfd, unix.EPOLL_CTL_ADD, fd, &ev) != nil {
		s.Yield()
		return 0, false
	}
	s.occupy(i, slot{handle: int32(fd), gen: gen, sink: Socket, form: form, tag: tag}, set)
	return i, true
}

// edge is EPOLLET. The constant in package unix is negative.
const edge = 1 << 31

// Write writes to a socket that no shard has taken. It does not block: what does not fit into the
// socket's buffer is dropped.
func Write(fd int, b []byte) { _, _ = unix.Write(fd, b) }

// Close closes a descriptor that no shard has taken.
func Close(fd int) { unix.Close(fd) }

// closeSocket closes the descriptor of a stream that has ended.
func (s *Shard) closeSocket(slotNumber uint32, reason Reason) {
	sl := &s.slots[slotNumber]
	if reason == TimedOut || reason == Slow {
		// Otherwise the kernel goes on offering unread bytes to the client.
		unix.SetsockoptLinger(int(sl.handle), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	unix.Close(int(sl.handle)) // the only descriptor, so epoll forgets it too
	s.Yield()
	delete(s.sockets.received, slotNumber)
}

// shutSocket tells the client that no more bytes follow. The client then has some time to close
// the connection.
func (s *Shard) shutSocket(sl *slot, pw *pendingWrite) {
	unix.Shutdown(int(sl.handle), unix.SHUT_WR)
	pw.shut, pw.since = true, s.tickTime
}

// unsent limits the bytes in a socket's buffer that were not sent yet (TCP_NOTSENT_LOWAT).
// Without the limit, a stalled client costs the kernel 4 MiB.
const unsent = 128 << 10

// tune sets a socket's options. It is called before the second write or by the first
// checkPeer, which keeps it out of the way when thousands of clients connect at once.
func (s *Shard) tune(sl *slot) {
	sl.tuned = true
	unix.SetsockoptInt(int(sl.handle), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
	unix.SetsockoptInt(int(sl.handle), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0) // see checkPeer
}

// poll handles events of epoll. It reports whether there may be more.
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
		s.handleEvent(Stream{uint32(ev.Fd), uint32(ev.Pad)}, ev.Events)
	}
	return int(n) == len(k.events)
}

// handleEvent handles an event of a stream's socket.
func (s *Shard) handleEvent(st Stream, events uint32) {
	if !s.Is(st) {
		return
	}
	switch {
	case events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0:
		s.end(st.Slot, s.disconnectReason(st.Slot), nil)
		return
	case events&unix.EPOLLIN != 0:
		s.discard(st.Slot)
		if !s.Is(st) {
			return
		}
	}
	if events&unix.EPOLLOUT != 0 && s.slots[st.Slot].stalled {
		s.serve(st.Slot)
	}
}

// arm makes epoll report when a socket is no longer full. If that is so, it reports at once.
func (s *Shard) arm(i uint32) {
	if sl := &s.slots[i]; !sl.armed {
		sl.armed = true
		sl.armed = s.rearm(i)
	}
}

// rearm makes epoll report the socket's state again. It returns false if epoll refuses.
func (s *Shard) rearm(i uint32) bool {
	sl := &s.slots[i]
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | edge, Fd: int32(i), Pad: int32(sl.gen)}
	if sl.armed {
		ev.Events |= unix.EPOLLOUT
	}
	return unix.EpollCtl(s.sockets.epfd, unix.EPOLL_CTL_MOD, int(sl.handle), &ev) == nil
}

// mostReceived is how many bytes a client may send after its request.
const mostReceived = 64 << 10

// discard reads what a client sends after its request, and throws it away. If the client has
// nothing more to send, or sends too much, discard ends the stream.
func (s *Shard) discard(i uint32) {
	received := s.sockets.received
	for had := received[i]; had <= mostReceived; {
		// MSG_TRUNC lets the kernel discard the bytes without copying them.
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.slots[i].handle), 0, mostReceived, unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		switch {
		case errno == unix.EAGAIN:
			return
		case errno == unix.EINTR:
			continue
		case errno != 0 || n == 0:
			s.end(i, s.disconnectReason(i), nil)
			return
		}
		had += int(n)
		received[i] = had
	}
	s.Conclude(i, Limit) // nobody reads the rest
}

// write writes s.out, and returns how many bytes the socket took. Its system calls do not
// block, so Go's scheduler is not told of them. That saves an eighth of a write.
func (s *Shard) write(fd int32) (int, unix.Errno) {
	out, k := &s.out, &s.sockets
	s.stats.Writes++
	if out.n > 1 && !out.iovReady {
		out.iovReady = true
		for i, piece := range out.pieces[:out.n] {
			k.iov[i].Base = &piece[0]
			k.iov[i].SetLen(len(piece))
		}
	}
	for {
		var n uintptr
		var errno unix.Errno
		if out.n == 1 {
			n, _, errno = unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&out.pieces[0][0])), uintptr(len(out.pieces[0])))
		} else {
			n, _, errno = unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&k.iov[0])), uintptr(out.n))
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

// serveSocket writes a stream's next frames to its socket, and handles the result. It may end
// the stream.
func (s *Shard) serveSocket(i uint32) {
	sl := &s.slots[i]
	for {
		pw := s.pendingWriteOf(i)
		if !s.collect(sl, pw) {
			s.end(i, Broken, errNoWire)
			return
		}
		out := &s.out
		if out.n > 0 {
			if sl.unacked && !sl.tuned {
				s.tune(sl)
			}
			n, errno := s.write(sl.handle)
			if errno != 0 {
				s.end(i, s.disconnectReason(i), nil)
				return
			}
			s.stats.Bytes += uint64(n)
			if n > 0 {
				sl.lastActive, sl.unacked = s.clock, true
			}
			if n < out.bytes {
				s.wroteSome(i, n)
				return
			}
			s.countDelivered(sl, out.n-out.rest-out.queued)
		}
		if pw == nil {
			if sl.state != detached && sl.count < s.sets[sl.set].base {
				s.feed.Resettle(i)
			}
			return
		}
		pw.finishRest()
		pw.advance(out.queued)
		if len(pw.queue) == 0 {
			s.afterPending(i)
			return
		}
	}
}

// wroteSome handles a write of s.out of which the full socket took only n bytes.
func (s *Shard) wroteSome(i uint32, n int) {
	s.stats.Short++
	sl, pw, out := &s.slots[i], s.ensurePendingWrite(i), &s.out
	if !pw.concluded && (n > 0 || !sl.stalled) {
		pw.since = s.tickTime
	}
	whole := 0 // pieces that were completely written
	for n >= len(out.pieces[whole]) {
		n -= len(out.pieces[whole])
		whole++
	}
	if out.rest == 1 {
		if whole == 0 {
			pw.rest = pw.rest[n:]
			s.stall(i)
			return
		}
		pw.finishRest()
	}
	queued := min(whole-out.rest, out.queued)
	frames := whole - out.rest - queued
	if n > 0 { // the next piece was partly written
		pw.rest = out.pieces[whole][n:]
		if queued < out.queued {
			queued++
		} else {
			if f, ok := s.sets[sl.set].frames[out.first+frames].(Pinnable); ok {
				pw.pin = f.Part(sl.form)
				pw.pin.Pin()
			}
			frames++
		}
	}
	pw.advance(queued)
	s.countDelivered(sl, frames)
	s.stall(i)
}

// stall marks a stream as stalled until its socket is no longer full.
func (s *Shard) stall(i uint32) {
	if sl := &s.slots[i]; !sl.stalled {
		sl.stalled = true
		s.stats.Stalled++
		s.arm(i)
	}
}

// tickSocket checks, once a tick, whether a stalled or closing stream is to end. A response that
// breaks off stays open for some time after its last event: Chromium may drop what a page has not
// read by then.
func (s *Shard) tickSocket(i uint32, pw *pendingWrite) {
	sl := &s.slots[i]
	since := s.tickTime.Sub(pw.since) - s.tick // pw.since may be up to a tick too early
	check := (s.clock+uint16(i))%s.peerCheckTicks == 0 || since > s.opts.WriteTimeout
	if sl.stalled && check && s.hasTaken(sl, pw) {
		since = 0
	}
	switch {
	case sl.stalled && since > s.opts.WriteTimeout:
		s.end(i, TimedOut, nil)
	case sl.state == closing && !sl.stalled && since > linger:
		if pw.shut {
			s.end(i, pw.reason, nil)
		} else {
			s.shutSocket(sl, pw)
		}
	}
}

// hasTaken reports whether the client of a stalled stream has taken something since the last
// call, although it has not made room for a write yet.
func (s *Shard) hasTaken(sl *slot, pw *pendingWrite) bool {
	if !s.readTCPInfo(sl) || s.sockets.info.Bytes_acked == pw.acked {
		return false
	}
	pw.acked = s.sockets.info.Bytes_acked
	if !pw.concluded {
		pw.since = s.tickTime
	}
	return true
}

// peerChecks is how often TCP_INFO is read during the write timeout.
const peerChecks = 6

// readTCPInfo reads a connection's TCP_INFO into s.sockets.info. It reports success.
func (s *Shard) readTCPInfo(sl *slot) bool {
	info := &s.sockets.info
	size := uint32(unsafe.Sizeof(*info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(sl.handle), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(info)), uintptr(unsafe.Pointer(&size)), 0)
	return errno == 0
}

// checkPeer ends a stream whose peer has acknowledged nothing during the write timeout, though
// bytes were outstanding. TCP_USER_TIMEOUT also counts the time during which the peer's small
// window is full, and so would cut off a slow reader. checkPeer does not.
func (s *Shard) checkPeer(i uint32) {
	sl := &s.slots[i]
	if !sl.tuned {
		s.tune(sl)
	}
	if !s.readTCPInfo(sl) {
		return
	}
	info := &s.sockets.info
	silent := time.Duration(info.Last_ack_recv) * time.Millisecond
	waited := time.Duration(s.clock-sl.unackedSince) * s.tick
	switch {
	case info.Unacked == 0 && info.Notsent_bytes == 0:
		sl.unackedSince, sl.unacked = 0, false
	case sl.unackedSince == 0 || silent < waited:
		sl.unackedSince = max(1, s.clock)
	case waited > s.opts.WriteTimeout:
		s.end(i, TimedOut, nil)
	}
}
