package soak_test

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A crowd is many clients at little cost. One goroutine reads all connections and checks
// the messages. Only that goroutine touches the members: do and each run a function on
// it. The crowd itself is for one goroutine at a time.
type crowd struct {
	addr string
	to   unix.SockaddrInet4

	epfd, wake int // an epoll, and an eventfd in it
	inbox      chan func()
	done       chan struct{}

	members []*member // by number
	wrong   error     // the first fault of the server
	buf     []byte
}

// newCrowd returns a crowd without members. The caller must close it.
func newCrowd(addr string) (*crowd, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	c := &crowd{
		addr:  addr,
		to:    unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()},
		inbox: make(chan func(), 1),
		done:  make(chan struct{}),
		buf:   make([]byte, 64<<10),
	}
	if c.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if c.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
		err = unix.EpollCtl(c.epfd, unix.EPOLL_CTL_ADD, c.wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: -1})
	}
	if err != nil {
		return nil, err
	}
	go c.run()
	return c, nil
}

// crowdOf returns a crowd that is closed with the test.
func crowdOf(t *testing.T, addr string) *crowd {
	t.Helper()
	c, err := newCrowd(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

func (c *crowd) run() {
	defer close(c.done)
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(c.epfd, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			panic(err)
		}
		for _, ev := range events[:max(0, n)] {
			if ev.Fd >= 0 {
				c.read(c.members[ev.Fd])
				continue
			}
			unix.Read(c.wake, c.buf[:8])
			select {
			case f := <-c.inbox:
				if f == nil {
					return
				}
				f()
			default:
			}
		}
	}
}

// read reads once from a member's connection.
func (c *crowd) read(m *member) {
	if m.fd < 0 {
		return // it was closed after EpollWait returned
	}
	n, err := unix.Read(m.fd, c.buf)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return
	case err != nil || n == 0:
		if m.end == nil {
			m.end = brokenError{errors.Join(err, io.ErrUnexpectedEOF)}
		}
		m.close()
		return
	}
	if err := m.receive(c.buf[:n]); err != nil {
		if c.wrong == nil {
			c.wrong = fmt.Errorf("client %d of %s: %w", m.number, m.topic, err)
		}
		m.end = err
		m.close()
		return
	}
	if m.cutAt > 0 && len(m.raw) >= m.cutAt {
		m.cut()
	}
}

// send runs f on the crowd's goroutine.
func (c *crowd) send(f func()) {
	c.inbox <- f
	unix.Write(c.wake, binary.NativeEndian.AppendUint64(nil, 1))
}

// do runs f on the crowd's goroutine, and waits until it returns.
func (c *crowd) do(f func()) {
	done := make(chan struct{})
	c.send(func() { f(); close(done) })
	<-done
}

// each calls f for each of the members, on the crowd's goroutine.
func (c *crowd) each(members []*member, f func(*member)) {
	c.do(func() {
		for _, m := range members {
			f(m)
		}
	})
}

// close closes all connections.
func (c *crowd) close() {
	c.send(nil)
	<-c.done
	for _, m := range c.members {
		m.close()
	}
	unix.Close(c.wake)
	unix.Close(c.epfd)
}

// connectOptions says how members connect.
type connectOptions struct {
	buffer int  // the size of the receive buffer; 0 means the system's
	cutAt  int  // see member
	start  bool // read all stored messages first

	// inFlight is the largest number of connections whose streams have not begun. 0
	// means 256, which fits into a listener's backlog.
	inFlight int
}

// join adds n members and waits until their streams have begun or were refused.
func (c *crowd) join(topic string, n int, how connectOptions) ([]*member, error) {
	members := make([]*member, n)
	for i := range members {
		members[i] = &member{topic: topic, fd: -1, first: -1, next: -1, cutAt: how.cutAt}
	}
	c.do(func() {
		for _, m := range members {
			m.number = len(c.members)
			c.members = append(c.members, m)
		}
	})
	return members, c.connect(members, how)
}

// connect connects members. Members that were connected before send their last ids.
func (c *crowd) connect(members []*member, how connectOptions) error {
	for len(members) > 0 {
		some := members[:min(len(members), cmp.Or(how.inFlight, 256))]
		members = members[len(some):]
		for _, m := range some {
			if err := c.open(m, how); err != nil {
				return fmt.Errorf("connect client %d: %w", m.number, err)
			}
		}
		if err := c.until("the streams have begun", func() bool {
			for _, m := range some {
				if !m.opened && m.end == nil {
					return false
				}
			}
			return true
		}); err != nil {
			return err
		}
	}
	return nil
}

// open opens a member's connection and sends the request.
func (c *crowd) open(m *member, how connectOptions) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if how.buffer > 0 {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, how.buffer)
		// As on Ethernet: see dial.
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, 1448)
	}
	query := "topic=" + m.topic
	if how.start {
		query += "&from=start"
	}
	request := "GET /events?" + query + " HTTP/1.1\r\nHost: " + c.addr + "\r\nAccept: text/event-stream\r\n"
	if len(m.lastID) > 0 {
		request += "Last-Event-ID: " + string(m.lastID) + "\r\n"
	}
	err = unix.Connect(fd, &c.to)
	if err == nil {
		_, err = unix.Write(fd, []byte(request+"\r\n"))
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	c.do(func() {
		m.fd, m.raw, m.inBody, m.opened, m.end = fd, m.raw[:0], false, false, nil
		c.resume(m)
	})
	return nil
}

// pause stops reading a member, and resume continues. Both must be called on the crowd's
// goroutine.
func (c *crowd) pause(m *member) { unix.EpollCtl(c.epfd, unix.EPOLL_CTL_DEL, m.fd, nil) }

func (c *crowd) resume(m *member) {
	if err := unix.EpollCtl(c.epfd, unix.EPOLL_CTL_ADD, m.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(m.number)}); err != nil {
		c.wrong = err
	}
}

// until waits until a condition holds. It checks the condition on the crowd's goroutine.
// The error is a fault of the server, or says which condition does not hold.
func (c *crowd) until(what string, holds func() bool) error {
	for end := time.Now().Add(patience); ; time.Sleep(4 * time.Millisecond) {
		var held bool
		var wrong error
		c.do(func() { held, wrong = holds(), c.wrong })
		switch {
		case wrong != nil:
			return wrong
		case held:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("waited %v in vain until %s", patience, what)
		}
	}
}

// await waits until a condition holds, or fails the test.
func (c *crowd) await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	if err := c.until(what, holds); err != nil {
		t.Fatal(err)
	}
}

// awaitAll waits until a condition holds for each of the members.
func (c *crowd) awaitAll(t *testing.T, members []*member, what string, is func(*member) bool) {
	t.Helper()
	c.await(t, "for all "+what, func() bool {
		for _, m := range members {
			if !is(m) {
				return false
			}
		}
		return true
	})
}

// awaitHealthy waits until healthy members have every message that is acknowledged at
// the time of the call.
func (c *crowd) awaitHealthy(t *testing.T, members []*member, tr *traffic) {
	t.Helper()
	messages := tr.acked()
	c.awaitAll(t, members, fmt.Sprintf("%d messages of %s have come", messages, tr.topic), func(m *member) bool {
		if m.end != nil && c.wrong == nil {
			c.wrong = fmt.Errorf("client %d of %s, which is healthy: its stream has ended with %w", m.number, m.topic, m.end)
		}
		return m.has(messages)
	})
}
