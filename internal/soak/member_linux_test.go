package soak_test

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"example.com/tidings/hub"
	"example.com/tidings/sse"
)

// A member is one client of a crowd, and subscribes to one topic. Only the crowd's
// goroutine uses it.
type member struct {
	topic  string
	number int // its index in the crowd
	fd     int // -1 when it is closed

	raw    []byte // the incomplete part of the answer so far
	inBody bool

	opened bool   // tidings.open has come on this connection
	start  uint64 // the sequence number after which the first connection began
	first  int    // the number of the first message, or -1
	next   int    // the number of the next message, or -1 if any may come
	lastID []byte

	cutAt int   // if not 0, the member resets the connection when raw is so long
	end   error // why the stream ended
}

// errCut is the end of a connection that the member has reset.
var errCut = errors.New("reset by the test")

// has reports whether the member has received all messages of the topic with lower
// numbers, from where it began.
func (m *member) has(messages int) bool { return m.next >= messages }

// receive takes bytes of the answer.
func (m *member) receive(b []byte) error {
	if len(m.raw) > 0 {
		m.raw = append(m.raw, b...)
		b = m.raw
	}
	for {
		n, err := m.take(b)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		b = b[n:]
	}
	switch {
	case len(b) > 0:
		m.raw = append(m.raw[:0], b...)
	case cap(m.raw) > 4096:
		m.raw = nil
	default:
		m.raw = m.raw[:0]
	}
	return nil
}

// take takes the header or one chunk (RFC 9112, section 7.1) of the answer. It returns
// its length, or 0 if it is incomplete.
func (m *member) take(b []byte) (n int, err error) {
	if m.end != nil && len(b) > 0 {
		return 0, fmt.Errorf("%q comes after the end", b)
	}
	if !m.inBody {
		n = bytes.Index(b, []byte("\r\n\r\n"))
		if n < 0 {
			return 0, nil
		}
		head := b[:n+4]
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) || !bytes.Contains(head, []byte("\r\nTransfer-Encoding: chunked\r\n")) {
			return 0, fmt.Errorf("the answer is %q", b[:min(len(b), 500)])
		}
		m.inBody = true
		return len(head), nil
	}
	line := bytes.IndexByte(b, '\n')
	if line < 0 {
		return 0, nil
	}
	size := 0
	for _, c := range b[:max(0, line-1)] {
		switch {
		case '0' <= c && c <= '9':
			size = size<<4 | int(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			size = size<<4 | int(c|0x20-'a'+10)
		default:
			return 0, fmt.Errorf("there is no chunk: %q", b[:min(len(b), 100)])
		}
	}
	n = line + 1 + size + 2
	if len(b) < n {
		return 0, nil
	}
	if line < 2 || b[line-1] != '\r' || b[n-2] != '\r' || b[n-1] != '\n' {
		return 0, fmt.Errorf("there is no chunk: %q … %q", b[:min(n, 100)], b[max(0, n-100):n])
	}
	if size == 0 {
		return 0, errors.New("the response is complete")
	}
	return n, m.takeEvents(b[line+1 : n-2])
}

// takeEvents takes the events of a chunk, which must be complete.
func (m *member) takeEvents(b []byte) error {
	var typ, data, id []byte
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			return fmt.Errorf("a chunk ends in the middle of a line: %q", b[:min(len(b), 100)])
		}
		line := b[:end]
		b = b[end+1:]
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case len(line) == 0:
			if err := m.takeEvent(typ, data, id); err != nil {
				return fmt.Errorf("%w: event %q, id %q, data %.200q", err, typ, id, data)
			}
			typ, data, id = nil, nil, nil
		case line[0] == ':':
		case string(name) == "event":
			typ = value
		case string(name) == "data":
			data = value
		case string(name) == "id":
			id = value
		case string(name) != "retry":
			return fmt.Errorf("there is no field: %.100q", line)
		}
	}
	if typ != nil || data != nil || id != nil {
		return fmt.Errorf("a chunk ends in the middle of an event")
	}
	return nil
}

func (m *member) takeEvent(typ, data, id []byte) error {
	switch string(typ) {
	case hub.OpenEventType:
		return m.takeOpen(data, id)
	case sse.GapEventType:
		return errors.New("there is a gap")
	case hub.PositionEventType:
		m.lastID = append(m.lastID[:0], id...)
		return nil
	case hub.UnavailableEventType:
		m.end = errRefused
		return nil
	case hub.EndEventType:
		m.lastID = append(m.lastID[:0], id...)
		m.end = errStopped
		return nil
	case "":
	default:
		return errors.New("this was not published")
	}
	digits, rest, _ := bytes.Cut(data, []byte(" "))
	topic, _, _ := bytes.Cut(rest, []byte(" "))
	n, ok := natural(digits)
	switch {
	case !m.opened || !ok:
		return errors.New("this should not come")
	case string(topic) != m.topic:
		return fmt.Errorf("this is not for a subscriber of %s", m.topic)
	case m.next >= 0 && n != m.next:
		return fmt.Errorf("message %d should come, after %q", m.next, m.lastID)
	}
	if m.first < 0 {
		m.first = n
	}
	m.next = n + 1
	m.lastID = append(m.lastID[:0], id...)
	return nil
}

func (m *member) takeOpen(data, id []byte) error {
	if m.opened || !bytes.Contains(data, []byte(`"topics":["`+m.topic+`"]`)) {
		return errors.New("this should not come")
	}
	m.opened = true
	if len(m.lastID) > 0 {
		if !bytes.Equal(id, m.lastID) {
			return fmt.Errorf("the client resumed with %q", m.lastID)
		}
		return nil
	}
	var err error
	m.start, err = sequence(string(id))
	m.lastID = append(m.lastID, id...)
	return err
}

// natural parses a decimal number.
func natural(digits []byte) (n int, ok bool) {
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, len(digits) > 0
}

// close closes the connection.
func (m *member) close() {
	if m.fd >= 0 {
		unix.Close(m.fd)
		m.fd = -1
	}
}

// cut resets the connection.
func (m *member) cut() {
	unix.SetsockoptLinger(m.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	m.close()
	m.end = errCut
}

// compare returns an error unless the member got exactly the acknowledged messages of
// its topic, from where it began.
func (m *member) compare(l *ledger, messages int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.first < 0 || m.next != messages || string(m.lastID) != l.ids[messages-1] {
		return fmt.Errorf("client %d has messages %d up to %d, the last with the id %q; it should have %d, the last with the id %q", m.number, m.first, m.next, m.lastID, messages, l.ids[messages-1])
	}
	return m.beganAt(l)
}

// beganRight returns an error unless the first message is the first one after the
// position where the member began.
func (m *member) beganRight(l *ledger) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return m.beganAt(l)
}

// beganAt is beganRight. The caller must hold the ledger's mu.
func (m *member) beganAt(l *ledger) error {
	if seq, _ := sequence(l.ids[m.first]); seq <= m.start {
		return fmt.Errorf("client %d began after %d, but message %d came, which is %d", m.number, m.start, m.first, seq)
	}
	if m.first > 0 {
		if seq, _ := sequence(l.ids[m.first-1]); seq > m.start {
			return fmt.Errorf("client %d began after %d, but message %d did not come, which is %d", m.number, m.start, m.first-1, seq)
		}
	}
	return nil
}
