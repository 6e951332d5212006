//go:build linux

package main

import (
	"errors"
	"fmt"
	"syscall"
)

// A subscriber is one connection. It expects consecutive message numbers.
type subscriber struct {
	stream
	fd      int32 // -1 when there is no connection
	next    uint32
	request []byte // nil when it has been sent
}

// subscribers share one epoll descriptor. One goroutine owns them.
type subscribers struct {
	subs  []subscriber
	found func(sub int, at int64, number uint32) // called for each message

	opened int   // answers that have begun, in total
	closed int   // connections that the server has closed, in total
	polled int64 // when epoll_wait last returned

	port    int
	epoll   int
	current int                           // the subscriber being read
	each    func(at int64, number uint32) // calls found for current
	events  []syscall.EpollEvent
	buf     []byte
}

// newSubscribers returns n subscribers that are not yet connected.
func newSubscribers(n, port int, found func(sub int, at int64, number uint32)) (*subscribers, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	c := &subscribers{
		subs: make([]subscriber, n), found: found, port: port, epoll: epoll,
		events: make([]syscall.EpollEvent, 1024), buf: make([]byte, 256<<10),
	}
	c.each = func(at int64, number uint32) { c.found(c.current, at, number) }
	for i := range c.subs {
		c.subs[i].fd = -1
	}
	return c, nil
}

// subscription returns the request for a topic. The stream begins after the event
// with the id lastID, or with new messages if lastID is "".
func subscription(addr, topic, lastID string) []byte {
	b := fmt.Appendf(nil, "GET /events?topic=%s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n", topic, addr)
	if lastID != "" {
		b = fmt.Appendf(b, "Last-Event-ID: %s\r\n", lastID)
	}
	return append(b, "\r\n"...)
}

// connect begins to connect subscriber i, whose first message will be next. If the
// server's queue has room, the connection is ready at once, and connect sends the
// request. It does not change request, so callers may share it.
func (c *subscribers) connect(i int, request []byte, next uint32) error {
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
func (c *subscribers) disconnect(i int) {
	if sub := &c.subs[i]; sub.fd >= 0 {
		syscall.Close(int(sub.fd))
		sub.fd = -1
	}
}

// poll reads once from up to most subscribers, and returns how many it has read. It
// waits up to timeout milliseconds for the first.
func (c *subscribers) poll(most, timeout int) (int, error) {
	n, err := syscall.EpollWait(c.epoll, c.events[:min(most, len(c.events))], timeout)
	if err != nil && !errors.Is(err, syscall.EINTR) {
		return 0, fmt.Errorf("epoll_wait: %w", err)
	}
	n = max(n, 0)
	c.polled = now()
	for _, event := range c.events[:n] {
		if event.Fd < 0 {
			continue // the publisher's descriptor, which topics reads
		}
		if err := c.serve(int(event.Fd), event.Events); err != nil {
			return n, err
		}
	}
	return n, nil
}

// serve handles one epoll event.
func (c *subscribers) serve(i int, events uint32) error {
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

// waitOpened polls until n subscribers have opened.
func (c *subscribers) waitOpened(n int) error {
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
