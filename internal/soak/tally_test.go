//go:build unix

package soak_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http/httputil"
	"strconv"
	"time"
)

// A tally reads the messages of a stream at little cost: it parses only the number at the
// beginning of their data.
type tally struct {
	conn  net.Conn
	lines *bufio.Reader
}

// tallyOf subscribes and waits until the stream is open.
func tallyOf(addr, query string) (*tally, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "GET /events?%s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", query, addr)
	head := bufio.NewReader(conn)
	for first := true; ; first = false {
		line, err := head.ReadSlice('\n')
		if err == nil && first && !bytes.Contains(line, []byte(" 200 ")) {
			err = fmt.Errorf("the answer is %q", line)
		}
		if err != nil {
			conn.Close()
			return nil, err
		}
		if len(line) <= 2 {
			break
		}
	}
	s := &tally{conn, bufio.NewReader(httputil.NewChunkedReader(head))}
	for {
		line, err := s.lines.ReadSlice('\n')
		if err != nil {
			conn.Close()
			return nil, err
		}
		if bytes.HasPrefix(line, []byte("id: ")) { // the id of tidings.open
			return s, nil
		}
	}
}

// next reads the whole next message and returns its number.
func (s *tally) next() (n int, err error) {
	for n = -1; ; {
		line, err := s.lines.ReadSlice('\n')
		switch {
		case err != nil && err != bufio.ErrBufferFull: // the beginning of a long line is enough
			return 0, err
		case n >= 0 && len(line) == 1:
			return n, nil
		case bytes.HasPrefix(line, []byte("event: tidings.gap")):
			return 0, fmt.Errorf("there is a gap")
		}
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			digits, _, _ := bytes.Cut(data, []byte(" "))
			if i, err := strconv.Atoi(string(digits)); err == nil {
				n = i
			}
		}
	}
}

func (s *tally) close() { s.conn.Close() }
