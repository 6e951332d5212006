//go:build unix

package soak_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// A poster sends the same request again and again over one connection. It costs very
// little, so that a benchmark measures the server.
type poster struct {
	conn    net.Conn
	answers *bufio.Reader
	request []byte
}

// newPoster connects to a server. All requests have the same body.
func newPoster(url, path, contentType string, body []byte) (*poster, error) {
	addr := strings.TrimPrefix(url, "http://")
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", path, addr, contentType, len(body))
	b.Write(body)
	return &poster{conn, bufio.NewReaderSize(conn, 64<<10), b.Bytes()}, nil
}

func (p *poster) close() { p.conn.Close() }

// post sends the request and reads the answer, which must have the given status.
func (p *poster) post(status string) error {
	p.conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := p.conn.Write(p.request); err != nil {
		return err
	}
	line, err := p.answers.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 "+status)) {
		return fmt.Errorf("the answer is %q, want %s", line, status)
	}
	length := int64(-1)
	for {
		line, err := p.answers.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && textproto.TrimString(string(name)) == "Content-Length" {
			if length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil {
				return err
			}
		}
	}
	if length >= 0 {
		_, err = p.answers.Discard(int(length))
		return err
	}
	return p.chunks()
}

// chunks reads a chunked body (RFC 9112, section 7.1).
func (p *poster) chunks() error {
	for {
		line, err := p.answers.ReadString('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(line), 16, 64)
		if err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, p.answers, n+2); err != nil || n == 0 {
			return err
		}
	}
}
