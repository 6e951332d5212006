package server_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/server"
)

// A client that has sent more after its request for a stream, and then hangs up, frees its place soon:
// net/http reads no more, so it does not find out. A client that stays keeps its stream.
func TestHangUpBehindMore(t *testing.T) {
	for name, request := range map[string]string{
		"HTTP/1.0":                "GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n",
		"HTTP/1.1 without hijack": "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startOn(t, server.Config{KeepAlive: -1}, eventlog.NewMemory(nil), hub.Options{TakeOver: false})
			open := func() net.Conn {
				conn := dial(t, s.addr)
				io.WriteString(conn, request)
				if n, err := conn.Read(make([]byte, 1024)); n == 0 {
					t.Fatal(err)
				}
				io.WriteString(conn, strings.Repeat("more ", 100))
				return conn
			}
			stays, leaves := open(), open()
			leaves.Close()
			s.wantSubscribers(t, 1)
			post(t, client(t, "HTTP/1.1"), s.url, "alice", "hello")
			stays.SetReadDeadline(time.Now().Add(patience))
			for got := ""; !strings.Contains(got, "hello"); {
				b := make([]byte, 1024)
				n, err := stays.Read(b)
				if got += string(b[:n]); err != nil {
					t.Fatalf("the client that stays gets %q, %v", got, err)
				}
			}
		})
	}
}
