package bench

import (
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// sockets is an engine of bare sockets. Each of a few goroutines waits for many
// sockets with its own epoll, and reads them all into one buffer.
// docs/performance.md says what that saves.
type sockets struct {
	stopping atomic.Bool
	wg       sync.WaitGroup
}

// startSockets returns nil if the peer's address has a zone.
func startSockets(r *run) engine {
	if r.target.peer.Addr().Zone() != "" {
		return nil
	}
	e := new(sockets)
	for lane := range r.tallies {
		l := &loop{run: r, lane: lane, lanes: len(r.tallies), engine: e, epoll: -1}
		e.wg.Go(l.serve)
	}
	return e
}

func (e *sockets) stop() {
	e.stopping.Store(true)
	e.wg.Wait()
}

// A loop serves the sockets of the subscribers lane, lane+lanes, lane+2*lanes, …
// Only its goroutine touches these sockets and subscribers.
type loop struct {
	run         *run
	engine      *sockets
	lane, lanes int
	epoll       int
	sockets     []socket // in the order of their subscribers
	opening     int      // streams that are not open yet
	request     []byte
	buf         []byte
}

// A socket has a descriptor, or -1, and the number of bytes sent of its request.
// opening means that it counts in loop.opening.
type socket struct {
	fd, sent int
	opening  bool
}

// bufSize is the largest read. epollTimeout is the longest wait of a loop before it
// checks whether it must stop.
const (
	bufSize      = 256 << 10
	epollTimeout = 20 * time.Millisecond
)

func (l *loop) subscriber(i int) *subscriber { return &l.run.subscribers[l.lane+i*l.lanes] }

func (l *loop) serve() {
	count := (len(l.run.subscribers) - l.lane + l.lanes - 1) / l.lanes
	l.sockets = make([]socket, 0, count)
	l.buf = make([]byte, bufSize)
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		for i := range count {
			l.subscriber(i).end(os.NewSyscallError("epoll_create1", err))
		}
		return
	}
	defer func() {
		for _, s := range l.sockets {
			if s.fd >= 0 {
				unix.Close(s.fd)
			}
		}
		unix.Close(l.epoll)
	}()
	events := make([]unix.EpollEvent, 512)
	for !l.engine.stopping.Load() {
		wait := epollTimeout
		// Open only a few at a time, so that open streams do not wait.
		for n := 0; n < 8 && len(l.sockets) < count && l.opening < max(1, connecting/l.lanes); n++ {
			l.open()
			wait = 0
		}
		n, err := unix.EpollWait(l.epoll, events, int(wait.Milliseconds()))
		if err != nil && err != unix.EINTR {
			panic(err) // cannot happen: the descriptor and arguments are valid
		}
		for _, ev := range events[:max(n, 0)] {
			l.ready(int(ev.Fd), ev.Events)
		}
	}
}

// open starts to connect the next subscriber.
func (l *loop) open() {
	i := len(l.sockets)
	l.sockets = append(l.sockets, socket{fd: -1, opening: true})
	l.opening++
	s := l.subscriber(i)
	s.began = l.run.now()
	fd, err := connect(l.run.target.peer, sourceOf(l.run.target.peer.Addr(), s.index))
	if err != nil {
		l.end(i, err)
		return
	}
	l.sockets[i].fd = fd
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
	switch err := l.send(i); err {
	case nil:
	case unix.EAGAIN:
		ev.Events = unix.EPOLLOUT
	default:
		l.end(i, os.NewSyscallError("write", err))
		return
	}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		l.end(i, os.NewSyscallError("epoll_ctl", err))
	}
}

// connect returns a non-blocking socket that is connected or connecting to a peer.
func connect(peer netip.AddrPort, source netip.Addr) (fd int, err error) {
	family, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(peer.Port()), Addr: peer.Addr().As16()})
	if peer.Addr().Is4() {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: int(peer.Port()), Addr: peer.Addr().As4()}
	}
	if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if source.IsValid() {
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: source.As4()}); err != nil {
			unix.Close(fd)
			return -1, os.NewSyscallError("bind", err)
		}
	}
	if err = unix.Connect(fd, to); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

// send sends the rest of a request. Its error is EAGAIN if the socket takes no more
// now, or is not connected yet.
func (l *loop) send(i int) error {
	s := &l.sockets[i]
	l.request = l.run.open.append(l.request[:0], l.subscriber(i).topic)
	for s.sent < len(l.request) {
		n, err := unix.Write(s.fd, l.request[s.sent:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		s.sent += n
	}
	return nil
}

// ready reads from or writes to a socket. A closed socket gets no further events,
// except those of the same wait.
func (l *loop) ready(i int, events uint32) {
	fd := l.sockets[i].fd
	if fd < 0 {
		return
	}
	s := l.subscriber(i)
	if events&unix.EPOLLOUT != 0 {
		switch err := l.send(i); err {
		case nil:
			ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
			if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, fd, &ev); err != nil {
				l.end(i, os.NewSyscallError("epoll_ctl", err))
			}
		case unix.EAGAIN:
		default:
			l.end(i, os.NewSyscallError("connect", err))
		}
		return
	}
	n, err := unix.Read(fd, l.buf)
	switch {
	case n > 0:
		if err := s.receive(l.buf[:n], l.run.now()); err != nil {
			l.end(i, err)
		} else if s.state != opening {
			l.opened(i)
		}
	case n == 0:
		l.end(i, s.reply.end())
	case err == unix.EAGAIN || err == unix.EINTR:
	default:
		l.end(i, os.NewSyscallError("read", err))
	}
}

// end counts the end of a stream and closes its socket.
func (l *loop) end(i int, reason error) {
	if l.subscriber(i).end(reason); l.sockets[i].fd >= 0 {
		unix.Close(l.sockets[i].fd)
		l.sockets[i].fd = -1
	}
	l.opened(i)
}

// opened lets another stream open in place of this one.
func (l *loop) opened(i int) {
	if l.sockets[i].opening {
		l.sockets[i].opening = false
		l.opening--
	}
}
