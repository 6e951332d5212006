package server_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/server"
)

// Without Config.H2C the server takes the preface of HTTP/2 for a request of HTTP/1 that it does
// not know.
func TestHTTP2WithoutTLSIsOffByDefault(t *testing.T) {
	t.Run("HTTP/1.1", func(t *testing.T) { // so that startOn does not switch it on
		s := start(t, server.Config{})
		conn := dial(t, s.addr)
		io.WriteString(conn, preface)
		conn.Write(frameOf(4, 0, 0))
		conn.SetReadDeadline(time.Now().Add(patience))
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 ") || strings.Contains(line, " 200 ") {
			t.Errorf("the server answers %q, %v", line, err)
		}
	})
}

// A flood ends the connection and counts in the metrics. Others are not affected.
func TestFloodOverTCP(t *testing.T) {
	s := start(t, server.Config{H2C: true})
	l := listen(t, client(t, h2c), s.url)
	conn := dial(t, s.addr)
	io.WriteString(conn, preface)
	conn.Write(frameOf(4, 0, 0))
	conn.SetDeadline(time.Now().Add(patience))
	go conn.Write(bytes.Repeat(frameOf(6, 0, 0, make([]byte, 8)...), 3*server.ControlBurst))
	if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
		t.Fatal("the server goes on reading")
	}
	if got := s.metrics(t); !strings.Contains(got, "\ntidings_http2_floods_total{kind=\"ping\"} 1\n") {
		t.Errorf("the metrics do not count the flood:\n%s", got)
	}
	post(t, client(t, h2c), s.url, "alice", "still here")
	l.want(t, l.event(1, "alice", "still here"))
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

// However the first bytes of a request come, the server finds out what the client speaks.
func TestFirstBytesMayComeOneByOne(t *testing.T) {
	s := startOn(t, server.Config{H2C: true}, eventlog.NewMemory(nil), hub.Options{TakeOver: true})
	for _, tt := range []struct{ sends, want string }{
		{"PUT /events HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 405 "},
		{"PROPFIND /events HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 405 "},
		{"PRI /events HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 405 "},
		{"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200 "},
		{preface + string(frameOf(4, 0, 0)), "\x00\x00"},
	} {
		conn := dial(t, s.addr)
		for i := range tt.sends {
			if _, err := io.WriteString(conn, tt.sends[i:i+1]); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, len(tt.want))
		conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != tt.want {
			t.Errorf("%q: the server answers %q, %v, want %q", tt.sends, got, err, tt.want)
		}
		conn.Close()
	}
}

// A server that stops does not wait for connections of which it knows nothing yet.
func TestStopWithoutFirstBytes(t *testing.T) {
	s := start(t, server.Config{H2C: true})
	conns := []net.Conn{dial(t, s.addr), dial(t, s.addr)}
	io.WriteString(conns[1], "PR")
	send(t, client(t, h2c), "GET", s.url+"/", nil) // the others were accepted before
	begin := time.Now()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 8*time.Second { // the first bytes may take 10
		t.Errorf("the server stopped after %v", took)
	}
	for i, conn := range conns {
		conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
			t.Errorf("connection %d is still open", i)
		}
	}
}
