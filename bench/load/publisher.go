//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"syscall"
)

// A publisher posts messages over one connection. Several may await their answers.
// One goroutine owns it.
type publisher struct {
	posted uint32
	ids    []string // of the acknowledged messages, in the order of their numbers

	topic  string // may change between messages
	target target
	fd     int
	out    []byte
	body   []byte
	in     []byte // received bytes of incomplete answers
	buf    []byte
}

// newPublisher connects a publisher of a topic to a server.
func newPublisher(t target, topic string) (*publisher, error) {
	if t.size < markSize {
		return nil, fmt.Errorf("a message needs at least %d bytes", markSize)
	}
	fd, err := dial(0, t.port)
	if err != nil {
		return nil, err
	}
	return &publisher{topic: topic, target: t, fd: fd, buf: make([]byte, 64<<10)}, nil
}

// outstanding returns how many posted messages are not yet acknowledged.
func (p *publisher) outstanding() int { return int(p.posted) - len(p.ids) }

// post posts the next message.
func (p *publisher) post() error {
	p.body = appendMessage(p.body[:0], now(), p.posted, p.target.size)
	p.out = fmt.Appendf(p.out[:0], "POST /topics/%s HTTP/1.1\r\nHost: %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s",
		p.topic, p.target.addr, len(p.body), p.body)
	until := now() + patience
	for rest := p.out; len(rest) > 0; {
		n, err := syscall.Write(p.fd, rest)
		switch {
		case n > 0:
			rest = rest[n:]
		case errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOTCONN):
			if now() > until {
				return errors.New("the server accepts no more messages")
			}
		case err != nil:
			return fmt.Errorf("a message could not be sent: %w", err)
		}
	}
	p.posted++
	return nil
}

// read reads the answers that have arrived, without waiting.
func (p *publisher) read() error {
	n, err := syscall.Read(p.fd, p.buf)
	switch {
	case errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR):
		return nil
	case err != nil:
		return fmt.Errorf("no answer to a message: %w", err)
	case n == 0:
		return errors.New("the server has closed the publisher's connection")
	}
	p.in = append(p.in, p.buf[:n]...)
	for {
		header, body, whole := bytes.Cut(p.in, []byte("\r\n\r\n"))
		if !whole {
			return nil
		}
		if !bytes.HasPrefix(header, []byte("HTTP/1.1 201 ")) {
			return fmt.Errorf("a message was answered with %q", p.in)
		}
		_, rest, _ := bytes.Cut(bytes.ToLower(header), []byte("\r\ncontent-length: "))
		digits, _, _ := bytes.Cut(rest, []byte("\r\n"))
		length, err := strconv.Atoi(string(digits))
		if err != nil {
			return fmt.Errorf("an answer has no length: %q", p.in)
		}
		if len(body) < length {
			return nil
		}
		_, rest, _ = bytes.Cut(body[:length], []byte(`"id":"`))
		id, _, found := bytes.Cut(rest, []byte(`"`))
		if !found {
			return fmt.Errorf("an answer has no id: %q", p.in)
		}
		p.ids = append(p.ids, string(id))
		p.in = p.in[:copy(p.in, body[length:])]
	}
}

// publish posts count messages, up to 64 at a time, and waits until all are
// acknowledged.
func (p *publisher) publish(count int) error {
	until := now() + patience
	for posted := 0; posted < count || p.outstanding() > 0; {
		if posted < count && p.outstanding() < 64 {
			if err := p.post(); err != nil {
				return err
			}
			posted++
		}
		if err := p.read(); err != nil {
			return err
		}
		if now() > until {
			return errors.New("the server has stopped acknowledging messages")
		}
	}
	return nil
}
