package server_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/server"
)

// A closable is a connection that tells whether it was closed, as net/http does.
type closable struct {
	net.Conn
	of     *server.Connections
	closed atomic.Bool
}

func newClosable(of *server.Connections) *closable {
	conn, _ := net.Pipe()
	return &closable{Conn: conn, of: of}
}

func (c *closable) Close() error {
	c.closed.Store(true)
	go c.of.State(c, http.StateClosed)
	return c.Conn.Close()
}

// While the server stops, it closes no connection of HTTP/1 whose request is under way.
func TestStopLetsBodiesCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := server.NewConnections()
		conn := newClosable(c)
		c.State(conn, http.StateNew)
		c.State(conn, http.StateActive)
		in, out := io.Pipe()
		got := make(chan string)
		go func() {
			b, _ := io.ReadAll(c.Body(conn, in))
			got <- string(b)
		}()
		io.WriteString(out, "abc")
		synctest.Wait()
		done := make(chan struct{})
		go c.EndIdle(done)
		time.Sleep(time.Second)
		close(done)
		io.WriteString(out, "def")
		out.Close()
		if b := <-got; b != "abcdef" || conn.closed.Load() {
			t.Errorf("the body is %q, the connection closed: %v", b, conn.closed.Load())
		}
	})
}

// A newcomer takes the place of a connection that waits for its client, before that of one whose
// request has come. It takes even that one's, if there is no other.
func TestWhoMakesRoomForANewcomer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := server.NewConnectionsFor(2)
		served, idle := newClosable(c), newClosable(c)
		for _, conn := range []*closable{served, idle} {
			c.State(conn, http.StateNew)
			c.State(conn, http.StateActive)
		}
		if b, err := io.ReadAll(c.Body(served, io.NopCloser(strings.NewReader("abc")))); string(b) != "abc" || err != nil {
			t.Fatal(string(b), err)
		}
		time.Sleep(time.Minute)
		c.State(idle, http.StateIdle)
		first := newClosable(c)
		if !c.Admit(first) || !idle.closed.Load() || served.closed.Load() {
			t.Errorf("the connection that waits is closed: %v, the one that is served: %v", idle.closed.Load(), served.closed.Load())
		}
		c.State(first, http.StateActive)
		if !c.Admit(newClosable(c)) || !served.closed.Load() || first.closed.Load() {
			t.Errorf("the oldest one that is served is closed: %v, the newest: %v", served.closed.Load(), first.closed.Load())
		}
	})
}

// A connection that waits for its turn in a handshake keeps its place for as long as the oldest goes first.
func TestHandshakeKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := server.NewConnectionsFor(1)
		waiting := newClosable(c)
		c.State(waiting, http.StateNew)
		c.Late(waiting)
		began := time.Now()
		time.Sleep(server.Patience - 100*time.Millisecond)
		if !c.Admit(newClosable(c)) || !waiting.closed.Load() {
			t.Error("there is no room for a newcomer")
		}
		if d := time.Since(began); d < server.Patience || d > server.Patience+50*time.Millisecond {
			t.Errorf("it loses its place after %v, want %v", d, server.Patience)
		}
	})
}
