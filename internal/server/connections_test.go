package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"example.com/tidings/internal/server"
)

// answers sends a request and returns the status line.
func answers(t *testing.T, conn net.Conn, request string) string {
	t.Helper()
	io.WriteString(conn, request)
	conn.SetReadDeadline(time.Now().Add(patience))
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line)
}

// getPage is a request whose response is short, so that answers reads all of it.
const getPage = "HEAD /style.css HTTP/1.1\r\nHost: localhost\r\n\r\n"

// isClosed waits until the server has closed a connection.
func isClosed(t *testing.T, conn net.Conn) bool {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, conn)
	return !isTimeout(err)
}

// Whatever clients do with their connections, a newcomer is answered within a second. Streams
// go on.
func TestNewcomersFindRoom(t *testing.T) {
	for name, sends := range map[string]string{
		"nothing":            "",
		"half of a head":     "GET / HTTP/1.1\r\nHo",
		"half of a body":     "POST /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx",
		"half of a chunk":    "POST /batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
		"a request, then no": getPage,
		"half of a preface":  preface[:20],
		"no stream":          preface + string(frameOf(4, 0, 0)),
	} {
		for limit, limits := range map[string]server.Limits{
			"descriptors": {Connections: 8, Requests: 100},
			"requests":    {Connections: 100, Requests: 4},
		} {
			t.Run(name+" "+limit, func(t *testing.T) {
				t.Parallel()
				s := start(t, server.Config{H2C: true, Limits: limits})
				streams := []*listener{listen(t, client(t, "HTTP/1.1"), s.url), listen(t, client(t, h2c), s.url)}
				var first net.Conn
				for range 20 {
					conn := dial(t, s.addr)
					io.WriteString(conn, sends)
					if first == nil {
						first = conn
					}
				}
				begin := time.Now()
				got := answers(t, dial(t, s.addr), getPage)
				if took := time.Since(begin); got != "HTTP/1.1 200 OK" || took > 8*time.Second { // a second, on a machine that does nothing else
					t.Errorf("a newcomer gets %q after %v", got, took)
				}
				if !isClosed(t, first) {
					t.Error("the connection that has waited longest is still open")
				}
				got = s.metrics(t)
				if !strings.Contains(got, "tidings_connections_closed_total{reason=\"lasted\"} 0\n") {
					t.Error("a client that sends nothing counts as a request that lasts long")
				}
				post(t, client(t, "HTTP/1.1"), s.url, "alice", "hello")
				for _, l := range streams {
					l.want(t, l.event(1, "alice", "hello"))
				}
			})
		}
	}
}

// The connection that has waited longest goes first, and one that is used goes last.
func TestConnectionThatWaitsLongestIsClosed(t *testing.T) {
	s := start(t, server.Config{Limits: server.Limits{Connections: 100, Requests: 3}})
	used, idle, third := dial(t, s.addr), dial(t, s.addr), dial(t, s.addr)
	for i, conn := range []net.Conn{used, idle, third, used} {
		if got := answers(t, conn, getPage); got != "HTTP/1.1 200 OK" {
			t.Fatalf("request %d gets %q", i, got)
		}
		for deadline := time.Now().Add(patience); s.Idle() < min(i+1, 3); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d connections are idle after request %d", s.Idle(), i)
			}
		}
	}
	if got := answers(t, dial(t, s.addr), getPage); got != "HTTP/1.1 200 OK" {
		t.Fatalf("a newcomer gets %q", got)
	}
	if !isClosed(t, idle) {
		t.Fatal("the connection that has waited longest is still open")
	}
	for name, conn := range map[string]net.Conn{"the one that was used again": used, "a younger one": third} {
		io.WriteString(conn, getPage)
		conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Only streams are left: the server closes a newcomer at once, and takes one when a stream ends.
func TestNewcomerWithoutRoomIsClosed(t *testing.T) {
	s := start(t, server.Config{Limits: server.Limits{Connections: 2, Requests: 100}})
	c := client(t, "HTTP/1.1")
	first := listen(t, c, s.url)
	listen(t, c, s.url)
	if got := answers(t, dial(t, s.addr), getPage); got != "" {
		t.Errorf("a newcomer gets %q", got)
	}
	first.cancel()
	for deadline := time.Now().Add(patience); answers(t, dial(t, s.addr), getPage) == ""; {
		if time.Now().After(deadline) {
			t.Fatal("there is no room after a stream has ended")
		}
	}
}

// Limits that fit the descriptors and the memory of a machine.
func TestLimits(t *testing.T) {
	const unbounded = 1 << 40
	for _, tt := range []struct {
		files    int
		memory   int64
		takeOver bool
		want     server.Limits
	}{
		{64, unbounded, true, server.Limits{Connections: 24, Requests: 4096, Heads: 2 << 20, Kept: 32, Subscribers: 12}},
		{160, unbounded, true, server.Limits{Connections: 88, Requests: 4096, Heads: 2 << 20, Kept: 64, Subscribers: 64}},
		{256, unbounded, true, server.Limits{Connections: 184, Requests: 4096, Heads: 2 << 20, Kept: 64, Subscribers: 160}},
		{1024, unbounded, true, server.Limits{Connections: 888, Requests: 4096, Heads: 2 << 20, Kept: 128, Subscribers: 833}},
		{1 << 20, unbounded, true, server.Limits{Connections: 917496, Requests: 4096, Heads: 2 << 20, Kept: 131072, Subscribers: 913400}},
		{1 << 20, 64 << 20, true, server.Limits{Connections: 917496, Requests: 512, Heads: 512 << 10, Kept: 131072, Subscribers: 8192}},
		{1 << 20, 64 << 20, false, server.Limits{Connections: 917496, Requests: 512, Heads: 512 << 10, Kept: 131072, Subscribers: 512}},
		{1 << 20, 1 << 30, false, server.Limits{Connections: 917496, Requests: 4096, Heads: 2 << 20, Kept: 131072, Subscribers: 8192}},
	} {
		t.Run(fmt.Sprintf("%d files, %d MiB, %v", tt.files, tt.memory>>20, tt.takeOver), func(t *testing.T) {
			if got := server.LimitsFor(tt.files, tt.memory, tt.takeOver); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// A request with very many fields is refused.
func TestTooManyFields(t *testing.T) {
	s := start(t, server.Config{})
	for _, protocol := range protocols {
		c := client(t, protocol)
		var fields []string
		for i := range 199 { // and User-Agent
			fields = append(fields, fmt.Sprintf("X%d", i%100), "")
		}
		if got := send(t, c, "GET", s.url+"/", nil, fields...); got.status != 200 {
			t.Errorf("%s: 200 fields: %d", protocol, got.status)
		}
		send(t, c, "GET", s.url+"/", nil, append(fields, "X", "")...).problem(t, 431, "too-many-fields")
	}
}

// A client that has had a request keeps its connection while others have sent none, although it
// waits for longer.
func TestConnectionWithoutARequestIsClosedFirst(t *testing.T) {
	s := start(t, server.Config{Limits: server.Limits{Connections: 100, Requests: 4}})
	served := dial(t, s.addr)
	answers(t, served, getPage)
	time.Sleep(200 * time.Millisecond) // so that it may be disturbed
	fresh := []net.Conn{dial(t, s.addr), dial(t, s.addr), dial(t, s.addr)}
	if got := answers(t, dial(t, s.addr), getPage); got != "HTTP/1.1 200 OK" {
		t.Fatalf("a newcomer gets %q", got)
	}
	if !isClosed(t, fresh[0]) {
		t.Error("the oldest connection without a request is still open")
	}
	io.WriteString(served, getPage)
	served.SetReadDeadline(time.Now().Add(patience))
	if _, err := served.Read(make([]byte, 1)); err != nil {
		t.Errorf("the connection that has had a request: %v", err)
	}
}
