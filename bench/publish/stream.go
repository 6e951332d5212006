//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A counter counts how often a text occurs in a stream, however the stream is split.
// Occurrences must not overlap: no stream of a hub has three line ends in a row. The
// zero value with a text counts from 0.
type counter struct {
	text  []byte
	count int
	tail  []byte // the last bytes of the stream, fewer than the text has
}

// feed counts in the next bytes of the stream.
func (c *counter) feed(b []byte) {
	most := len(c.text) - 1
	if len(c.tail) > 0 {
		// An occurrence across the border begins in the tail and ends in b.
		c.count += bytes.Count(append(c.tail, b[:min(most, len(b))]...), c.text)
	}
	c.count += bytes.Count(b, c.text)
	if len(b) < most {
		b = append(c.tail, b...)
	}
	c.tail = append([]byte(nil), b[max(len(b)-most, 0):]...)
}

// A subscription is an open stream of events. One goroutine owns it.
type subscription struct {
	conn   *connection
	body   io.Reader
	events counter // all of them
	own    counter // the hub's own, which are no messages
	gaps   counter
	bytes  int64
	buf    []byte
}

// subscribe sends a request for a stream and returns when its header has arrived.
// lastID may be empty.
func (c *connection) subscribe(addr string, query url.Values, lastID string) (*subscription, error) {
	header := ""
	if lastID != "" {
		header = "Last-Event-ID: " + lastID + "\r\n"
	}
	if _, err := fmt.Fprintf(c.net, "GET /events?%s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n%s\r\n", query.Encode(), addr, header); err != nil {
		return nil, err
	}
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET /events: the status is %s", res.Status)
	}
	return &subscription{
		conn: c, body: res.Body, buf: make([]byte, 64<<10),
		events: counter{text: []byte("\n\n")},
		own:    counter{text: []byte("event: tidings.")},
		gaps:   counter{text: []byte("event: tidings.gap")},
	}, nil
}

// messages returns how many messages have come.
func (s *subscription) messages() int { return s.events.count - s.own.count }

// read reads what has arrived, and waits if nothing has. The bytes are valid until
// the next call.
func (s *subscription) read() ([]byte, error) {
	n, err := s.body.Read(s.buf)
	b := s.buf[:n]
	for _, c := range []*counter{&s.events, &s.own, &s.gaps} {
		c.feed(b)
	}
	s.bytes += int64(n)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("the stream has ended after %d messages", s.messages())
	}
	return b, err
}

// await reads until count messages have come. A gap is an error: the messages in it
// do not come.
func (s *subscription) await(count int) error {
	for s.messages() < count {
		_, err := s.read()
		if s.gaps.count > 0 {
			return fmt.Errorf("the stream has a gap after %d messages", s.messages())
		}
		if err != nil && s.messages() < count {
			return err
		}
	}
	return nil
}

// firstID subscribes to everything with a value of from, and returns the id of the
// event that comes after n others. The first event is not a message, but the hub's,
// and its id is that of the place before the messages.
func firstID(addr, from string, n int, by time.Time) (string, error) {
	c, err := dial(addr, by)
	if err != nil {
		return "", err
	}
	defer c.close()
	s, err := c.subscribe(addr, url.Values{"topic": {"**"}, "from": {from}}, "")
	if err != nil {
		return "", err
	}
	var text []byte
	for s.events.count <= n {
		b, err := s.read()
		if text = append(text, b...); err != nil && s.events.count <= n {
			return "", err
		}
	}
	for line := range strings.Lines(string(text)) {
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			if n == 0 {
				return strings.TrimSpace(id), nil
			}
			n--
		}
	}
	return "", fmt.Errorf("the first events of a stream have no id: %q", text)
}
