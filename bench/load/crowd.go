//go:build linux

package main

import (
	"errors"
	"fmt"
	"syscall"
)

// A subscriber is one connection. It expects messages whose numbers follow each
// other.
type subscriber struct {
	stream
	fd      int32 // -1 when there is no connection
	next    uint32
	request []byte // nil when it has been sent
}

// A crowd is many subscribers on one epoll descriptor. It belongs to one goroutine.
type crowd struct {
	subs  []subscriber
	found func(sub int, at int64, number uint32) // called for each message

	opened int   // answers that have begun, in all
	closed int   // connections that the server has ended, in all
	polled int64 // when poll last saw what had come

	port    int
	epoll   int
	current int                           // the subscriber that is read
	each    func(at int64, number uint32) // found, of the current one
	events  []syscall.EpollEvent
	buf     []byte
}

// newCrowd returns n subscribers that are not connected.
func newCrowd(n, port int, found func(sub int, at int64, number uint32)) (*crowd, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	c := &crowd{
		subs: make([]subscriber, n), found: found, port: port, epoll: epoll,
		events: make([]syscall.EpollEvent, 1024), buf: make([]byte, 256<<10),
	}
	c.each = func(at int64, number uint32) { c.found(c.current, at, number) }
	for i := range c.subs {
		c.subs[i].fd = -1
	}
	return c, nil
}

// subscription returns the request for a topic, from the event with the id
// lastID on, or from now on if that is "".
func subscription(addr, topic, lastID string) []byte {
	b := fmt.Appendf(nil, "GET /events?topic=%s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n", topic, addr)
	if lastID != "" {
		b = fmt.Appendf(b, "Last-Event-ID: %s\r\n", lastID)
	}
	return append(b, "\r\n"...)
}

// connect connects a subscriber, whose first message will be next, or begins to:
// where the server's queue has room the connection is there at once, and so the
// request goes out. It is not changed, and may be shared.
func (c *crowd) connect(i int, request []byte, next uint32) error {
	fd, err := dial(i, c.port)
	if err != nil {
		return err
	}
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(i)}
	if n, err := syscall.Write(fd, request); n == len(request) {
		request = nil
	} else if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOTCONN) {
		event.Events |= syscall.EPOLLOUT
	} else {
		syscall.Close(fd)
		return fmt.Errorf("a request could not be sent: %w", err)
	}
	c.subs[i] = subscriber{fd: int32(fd), next: next, request: request}
	if err := syscall.EpollCtl(c.epoll, syscall.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// disconnect closes a subscriber's connection.
func (c *crowd) disconnect(i int) {
	if sub := &c.subs[i]; sub.fd >= 0 {
		syscall.Close(int(sub.fd))
		sub.fd = -1
	}
}

// poll reads from up to most subscribers, once each, and returns how many. It
// waits up to timeout milliseconds for the first.
func (c *crowd) poll(most, timeout int) (int, error) {
	n, err := syscall.EpollWait(c.epoll, c.events[:min(most, len(c.events))], timeout)
	if err != nil && !errors.Is(err, syscall.EINTR) {
		return 0, fmt.Errorf("epoll_wait: %w", err)
	}
	n = max(n, 0)
	c.polled = now()
	for _, event := range c.events[:n] {
		if event.Fd < 0 {
			continue // the publisher's, which its owner reads
		}
		if err := c.serve(int(event.Fd), event.Events); err != nil {
			return n, err
		}
	}
	return n, nil
}

// serve acts on one event.
func (c *crowd) serve(i int, events uint32) error {
	sub := &c.subs[i]
	if sub.request != nil && events&syscall.EPOLLOUT != 0 {
		if n, err := syscall.Write(int(sub.fd), sub.request); err != nil || n < len(sub.request) {
			return fmt.Errorf("a request could not be sent: %w", err)
		}
		sub.request = nil
		event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(i)}
		if err := syscall.EpollCtl(c.epoll, syscall.EPOLL_CTL_MOD, int(sub.fd), &event); err != nil {
			return fmt.Errorf("epoll_ctl: %w", err)
		}
		return nil
	}
	n, err := syscall.Read(int(sub.fd), c.buf)
	switch {
	case errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR):
		return nil
	case err != nil || n == 0:
		c.closed++
		c.disconnect(i)
		return nil
	}
	c.current = i
	was := sub.open()
	if err := sub.feed(c.buf[:n], c.each); err != nil {
		return err
	}
	if sub.open() && !was {
		c.opened++
	}
	return nil
}

// waitOpened reads until opened has come to n.
func (c *crowd) waitOpened(n int) error {
	for until := now() + patience; c.opened < n; {
		if _, err := c.poll(len(c.events), 100); err != nil {
			return err
		}
		if c.closed > 0 || now() > until {
			return fmt.Errorf("%d of %d subscribers are open, and the server closed %d", c.opened, n, c.closed)
		}
	}
	return nil
}
