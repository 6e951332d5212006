package server_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/server"
)

// vanish makes the kernel drop everything that arrives for the connection, even
// acknowledgements. To the server this looks like a machine that has lost its
// power.
func vanish(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	var setErr error
	if err := raw.Control(func(fd uintptr) {
		setErr = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(drop)), Filter: &drop[0]})
	}); err != nil {
		t.Fatal(err)
	}
	if setErr != nil {
		t.Fatal(setErr)
	}
}

// Without TCP_USER_TIMEOUT a write fails only after some eighty keep-alives, which
// the kernel buffers. That is longer than the test's patience.
func TestPeerThatVanishedIsNoticed(t *testing.T) {
	t.Parallel()
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			s := start(t, server.Config{KeepAlive: time.Second, WriteTimeout: time.Second})
			var conn *net.TCPConn
			c := client(t, protocol)
			c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				var d net.Dialer
				nc, err := d.DialContext(ctx, network, addr)
				if err == nil {
					conn = nc.(*net.TCPConn)
				}
				return nc, err
			}
			listen(t, c, s.url).want(t, ": keep-alive\n")
			s.wantSubscribers(t, 1)
			vanish(t, conn)
			s.wantSubscribers(t, 0)
		})
	}
}

// The kernel of a peer that hangs still acknowledges data. Over HTTP/2 the server
// notices such a peer only because it does not answer pings.
func TestHTTP2PeerThatHangsIsNoticed(t *testing.T) {
	s := start(t, server.Config{KeepAlive: 50 * time.Millisecond, WriteTimeout: time.Second})
	conn := dial(t, s.addr)
	const headers, ping = 1, 6
	io.WriteString(conn, beginHTTP2)
	conn.Write(getHTTP2(1, "/events"))
	streams, pinged := false, false
	for {
		var frame [9]byte
		if _, err := io.ReadFull(conn, frame[:]); err != nil {
			break // the server has closed the connection
		}
		length := int64(frame[0])<<16 | int64(frame[1])<<8 | int64(frame[2])
		if _, err := io.CopyN(io.Discard, conn, length); err != nil {
			break
		}
		streams = streams || frame[3] == headers
		pinged = pinged || frame[3] == ping // but this client does not answer
	}
	if !streams {
		t.Fatal("the server has not answered the request")
	}
	if !pinged {
		t.Error("the server has closed the connection without a ping")
	}
	s.wantSubscribers(t, 0)
}

// A slow client reads all the time, but for longer than the write timeout it does not
// read enough for the server's socket to become writable.
func TestSlowReaderIsNotCutOff(t *testing.T) {
	t.Parallel()
	s := startOn(t, server.Config{WriteTimeout: 2 * time.Second}, eventlog.NewMemory(nil), hub.Options{TakeOver: true})
	small := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) })
	}}
	conn, err := small.DialContext(t.Context(), "tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	s.wantSubscribers(t, 1)
	for range 4 {
		if _, err := s.hub.Publish(t.Context(), hub.Message{Topic: "messages", Data: strings.Repeat("x", 1<<20)}); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 2048)
	for begin := time.Now(); time.Since(begin) < 6*time.Second; time.Sleep(50 * time.Millisecond) {
		conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(conn, buf); err != nil {
			t.Fatalf("it was cut off after %v: %v", time.Since(begin), err)
		}
	}
	s.wantSubscribers(t, 1)
}
