package server_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/memhttp"
	"example.com/tidings/internal/server"
)

// literal returns a block of header fields, names and values in turn, that are never compressed (RFC 7541,
// section 6.2.2).
func literal(fields ...string) (b []byte) {
	for i := range fields {
		if i%2 == 0 {
			b = append(b, 0)
		}
		b = append(append(b, byte(len(fields[i]))), fields[i]...)
	}
	return b
}

// getHTTP2 returns the frame of a GET request.
func getHTTP2(stream uint32, path string) []byte {
	return frameOf(1, 5, stream, literal(":method", "GET", ":scheme", "http", ":authority", "localhost", ":path", path)...)
}

// beginHTTP2 is what a client of HTTP/2 sends before its requests.
var beginHTTP2 = preface + string(frameOf(4, 0, 0))

// serveCounted serves a hub in memory, to connections that may be of HTTP/2. accepted gets each of them.
func serveCounted(t *testing.T, accepted func(net.Conn) net.Conn) *memhttp.Server {
	t.Helper()
	cfg := server.Config{H2C: true, DefaultTopic: "messages"}
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := newHub(t, cfg, eventlog.NewMemory(nil), hub.Options{})
	t.Cleanup(func() { h.Close() })
	return memhttp.ServeThrough(t, s.HTTP(h), func(l net.Listener) net.Listener {
		return countedListener{acceptedListener{l, accepted}, server.NewFloods()}
	})
}

// An acceptedListener returns other connections in place of those that it accepts.
type acceptedListener struct {
	net.Listener
	accepted func(net.Conn) net.Conn
}

func (l acceptedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.accepted(conn), nil
}

// goAway is the last frame of an idle connection (RFC 9113, section 6.8).
func goAway(newest uint32) []byte {
	return frameOf(7, 0, 0, append(binary.BigEndian.AppendUint32(nil, newest), 0, 0, 0, 0)...)
}

// lastFrame reads a connection to its end, and returns the last frame. It answers each PING.
func lastFrame(conn net.Conn) (last []byte) {
	for {
		frame := make([]byte, 9)
		if _, err := io.ReadFull(conn, frame); err != nil {
			return last
		}
		payload := make([]byte, int(frame[0])<<16|int(frame[1])<<8|int(frame[2]))
		if _, err := io.ReadFull(conn, payload); err != nil {
			return last
		}
		last = append(frame, payload...)
		if frame[3] == 6 && frame[4] == 0 {
			conn.Write(frameOf(6, 1, 0, payload...))
		}
	}
}

// A connection of HTTP/2 without a request ends after two minutes, and its client is told so. One
// with a request stays.
func TestIdleConnectionsOfHTTP2End(t *testing.T) {
	reset := frameOf(3, 0, 1, 0, 0, 0, 8)
	for name, tt := range map[string]struct {
		sends  []string // with a second in between
		after  time.Duration
		newest uint32
	}{
		"no request":       {[]string{beginHTTP2}, server.IdleTimeout, 0},
		"a request":        {[]string{beginHTTP2 + string(getHTTP2(1, "/style.css"))}, server.IdleTimeout, 1},
		"a stream, reset":  {[]string{beginHTTP2 + string(getHTTP2(1, "/events")), string(reset)}, server.IdleTimeout + time.Second, 1},
		"pings":            {[]string{beginHTTP2, string(frameOf(6, 0, 0, make([]byte, 8)...))}, server.IdleTimeout, 0},
		"a stream":         {[]string{beginHTTP2 + string(getHTTP2(1, "/events"))}, 0, 0},
		"two, one of them": {[]string{beginHTTP2 + string(getHTTP2(1, "/events")) + string(getHTTP2(3, "/style.css"))}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, err := serveCounted(t, func(c net.Conn) net.Conn { return c }).Dial()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				begin := time.Now()
				var took atomic.Int64
				got := make(chan []byte, 1)
				go func() {
					last := lastFrame(conn)
					took.Store(int64(time.Since(begin)))
					got <- last
				}()
				for _, text := range tt.sends {
					io.WriteString(conn, text)
					time.Sleep(time.Second)
				}
				time.Sleep(3 * server.IdleTimeout)
				if took := time.Duration(took.Load()); took < tt.after || took > tt.after+3*time.Second {
					t.Fatalf("the connection ended after %v, want %v", took, tt.after)
				}
				if tt.after > 0 {
					if last := <-got; !bytes.Equal(last, goAway(tt.newest)) {
						t.Errorf("its last frame is %x, want %x", last, goAway(tt.newest))
					}
				}
			})
		})
	}
}

// net/http keeps nothing of connections of HTTP/2 that have ended with their streams. The runtime may keep
// some for a while: a timer that was stopped can stay in its heap until others have come.
func TestEndedConnectionsOfHTTP2AreForgotten(t *testing.T) {
	type tracked struct{ net.Conn }
	var forgotten atomic.Int64
	s := serveCounted(t, func(conn net.Conn) net.Conn {
		c := &tracked{conn}
		runtime.AddCleanup(c, func(n *atomic.Int64) { n.Add(1) }, &forgotten)
		return c
	})
	come := func() {
		conn, err := s.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		go io.WriteString(conn, beginHTTP2+string(getHTTP2(1, "/events")))
		b := make([]byte, 1024)
		for read := 0; !bytes.Contains(b[:read], []byte("tidings.open")); {
			n, err := conn.Read(b[read:])
			if err != nil {
				t.Fatal(err)
			}
			read += n
		}
	}
	const enough = 10
	for begin, n := time.Now(), 0; forgotten.Load() < enough; n++ {
		if time.Since(begin) > patience {
			t.Fatalf("%d of %d connections are forgotten", forgotten.Load(), n)
		}
		come()
		if n%enough == 0 {
			runtime.GC()
		}
	}
}
