//go:build unix

package soak_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"example.com/tidings/sse"
)

// A stream is one connection of a subscriber, with its own socket: unread data stays in
// the kernel and the server. One goroutine reads it. Other goroutines may call close and
// cut.
type stream struct {
	conn   *net.TCPConn
	body   io.Reader                   // for a reader of its own, instead of events
	events iter.Seq2[sse.Event, error] // may be ranged again after a break
}

// A statusError is an answer that is not a stream.
type statusError struct {
	status int
	body   string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.body) }

// dial subscribes. query has the topics and other parameters of the URL. With a lastID,
// the client resumes. A receiveBuffer of 0 bytes means the system's size.
func dial(ctx context.Context, addr string, query url.Values, lastID string, receiveBuffer int) (*stream, error) {
	d := net.Dialer{Timeout: patience}
	if receiveBuffer > 0 {
		d.Control = func(_, _ string, c syscall.RawConn) (err error) {
			if controlErr := c.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer)
				if err == nil {
					// Use segments as on Ethernet. Loopback's segments of 64 KiB do not
					// fit into such a buffer: the peer's kernel would wait before each.
					err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1448)
				}
			}); controlErr != nil {
				return controlErr
			}
			return err
		}
	}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &stream{conn: conn.(*net.TCPConn)}
	conn.SetDeadline(time.Now().Add(patience)) // for the headers
	body, err := s.request(addr, query, lastID, receiveBuffer)
	if err != nil {
		conn.Close()
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	s.body = body
	s.events = sse.Decode(body, &sse.DecodeOptions{LastEventID: lastID})
	return s, nil
}

// request sends the request and returns the body of the answer.
func (s *stream) request(addr string, query url.Values, lastID string, receiveBuffer int) (io.Reader, error) {
	req, err := http.NewRequest("GET", "http://"+addr+"/events?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	if err := req.Write(s.conn); err != nil {
		return nil, err
	}
	size := 16 << 10
	if receiveBuffer > 0 {
		size = receiveBuffer
	}
	res, err := http.ReadResponse(bufio.NewReaderSize(s.conn, size), req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(res.Body, 1024))
		return nil, &statusError{res.StatusCode, string(b)}
	}
	return res.Body, nil
}

// next returns the next event, or io.EOF after a clean end.
func (s *stream) next() (sse.Event, error) {
	for ev, err := range s.events {
		return ev, err
	}
	return sse.Event{}, io.EOF
}

func (s *stream) close() { s.conn.Close() }

// cut resets the connection, as if the client had vanished.
func (s *stream) cut() {
	s.conn.SetLinger(0)
	s.conn.Close()
}
