//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"time"
)

// A connection sends requests over HTTP/1.1, one at a time, and reads only what it
// must of the answers, since it shares the machine with the server. One goroutine
// owns it.
type connection struct {
	net net.Conn
	in  *bufio.Reader
}

// dial connects to a server. Everything that the connection does must be done by
// then.
func dial(addr string, by time.Time) (*connection, error) {
	c, err := net.DialTimeout("tcp", addr, time.Until(by))
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(by); err != nil {
		return nil, err
	}
	return &connection{c, bufio.NewReaderSize(c, 16<<10)}, nil
}

func (c *connection) close() { c.net.Close() }

// send sends a request and returns the status of the answer once all of it is here.
func (c *connection) send(request []byte) (status int, err error) {
	if _, err := c.net.Write(request); err != nil {
		return 0, err
	}
	return readAnswer(c.in)
}

// readAnswer reads an answer and returns its status.
func readAnswer(in *bufio.Reader) (status int, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, fmt.Errorf("%q is no status line", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, fmt.Errorf("%q has no status", line)
	}
	length, chunked := -1, false
	for {
		if line, err = in.ReadSlice('\n'); err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		}
	}
	switch {
	case chunked:
		if _, err = io.Copy(io.Discard, httputil.NewChunkedReader(in)); err == nil {
			_, err = in.ReadSlice('\n') // NewChunkedReader leaves the empty line at the end
		}
	case length >= 0:
		_, err = in.Discard(length)
	default:
		err = fmt.Errorf("the answer %d has no length", status)
	}
	return status, err
}
