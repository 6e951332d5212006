package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"example.com/tidings/internal/server"
)

// Parts of heads are bounded: the connections with the largest ones are closed. Others, and
// those that have sent whole requests before, go on.
func TestPartsOfHeadsAreBounded(t *testing.T) {
	s := start(t, server.Config{Limits: server.Limits{Connections: 1000, Requests: 1000, Heads: 200 << 10}})
	get := func(bytes int) string {
		return "GET /style.css HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", bytes)
	}
	// The whole requests are answered before any part of a head comes. A busy server would read them
	// late, as parts, or together with the part that follows, which then counts less.
	var honest, large []net.Conn
	for range 120 {
		conn := dial(t, s.addr)
		io.WriteString(conn, get(20<<10)+"\r\n\r\n")
		io.WriteString(conn, get(20<<10)+"\r\n\r\n")
		responses := bufio.NewReader(conn)
		for range 2 {
			res, err := http.ReadResponse(responses, nil)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, res.Body)
		}
		honest = append(honest, conn)
	}
	for range 40 {
		large = append(large, dial(t, s.addr))
	}
	for i := 0; i < len(large); i += 2 {
		answers(t, large[i], getPage)
	}
	for _, conn := range honest {
		io.WriteString(conn, get(3<<10))
	}
	for i, conn := range large {
		io.WriteString(conn, get(10<<10+i<<8))
	}
	want := fmt.Sprintf("tidings_connections_closed_total{reason=%q} ", "waited")
	closed := func() (n int) {
		for line := range strings.Lines(s.metrics(t)) {
			if value, ok := strings.CutPrefix(line, want); ok {
				fmt.Sscan(value, &n)
			}
		}
		return n
	}
	for _, conn := range large[30:] {
		if !isClosed(t, conn) {
			t.Fatal("a connection with a large part of a head is still open")
		}
	}
	n := closed()
	if n < 15 || n > 32 { // 200 KiB are some 16 such heads, or more without what is buffered
		t.Errorf("%d connections were closed", n)
	}
	for i, conn := range honest {
		if got := finish(conn); got != 1 {
			t.Errorf("a connection with a small part of a head, %d, has %d responses then, want 1", i, got)
		}
	}
	for i, conn := range large[:8] {
		if got := finish(conn); got != 1 {
			t.Errorf("a connection with not so large a part, %d, has %d responses then, want 1", i, got)
		}
	}
}

// finish ends a head, and returns how many responses there are.
func finish(conn net.Conn) (n int) {
	io.WriteString(conn, "\r\nConnection: close\r\n\r\n")
	b, _ := io.ReadAll(conn)
	return strings.Count(string(b), "HTTP/1.1 200 OK")
}
