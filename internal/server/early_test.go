package server_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/server"
)

// enter has n requests enter a line, and returns a function that tells which of them had their
// turn, in that order.
func enter(l *server.Line, n int) (begun func() []int) {
	turns := make(chan int, n)
	for i := range n {
		go func() {
			l.Enter()
			turns <- i
		}()
		synctest.Wait() // they come in order
	}
	return func() (all []int) {
		synctest.Wait()
		for len(turns) > 0 {
			all = append(all, <-turns)
		}
		return all
	}
}

// Early requests begin in turns: so many at a time, the longest waiting first. If those before
// them take long, another one begins each millisecond.
func TestEarlyRequestsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(server.Line)
		begun := enter(l, server.EarlyPlaces+4)
		if got := begun(); len(got) != server.EarlyPlaces {
			t.Fatalf("%d have begun, want %d", len(got), server.EarlyPlaces)
		}
		l.Leave()
		if got := begun(); len(got) != 1 || got[0] != server.EarlyPlaces {
			t.Errorf("after one has ended, %v begin", got)
		}
		time.Sleep(server.EarlyTime)
		if got := begun(); len(got) != 1 || got[0] != server.EarlyPlaces+1 {
			t.Errorf("after a while, %v begin", got)
		}
		l.Leave() // there is one too many now
		if got := begun(); len(got) != 0 {
			t.Errorf("after one of those that were too many has ended, %v begin", got)
		}
		time.Sleep(2 * server.EarlyTime)
		if got := begun(); len(got) != 2 {
			t.Errorf("in the end, %v begin", got)
		}
		for range server.EarlyPlaces + 2 {
			l.Leave()
		}
		if got := enter(l, server.EarlyPlaces+1)(); len(got) != server.EarlyPlaces {
			t.Errorf("after all have ended, %d begin, want %d", len(got), server.EarlyPlaces)
		}
		time.Sleep(server.EarlyTime)
	})
}

// On a connection of HTTP/1 a request is early that is there as soon as the response to the one
// before is sent. It leaves the line at its end, or when it turns out to be a stream.
func TestPipelinedRequestsAreEarly(t *testing.T) {
	for name, test := range map[string]struct {
		pause  time.Duration
		end    func(c *server.Connections, conn net.Conn)
		places int // that are free afterwards
	}{
		"one that waits for its answer": {server.AtOnce, nil, 1},
		"one that does not":             {server.AtOnce - 1, nil, 0},
		"after its end": {0, func(c *server.Connections, conn net.Conn) {
			c.State(conn, http.StateIdle)
		}, 1},
		"after the connection's": {0, func(c *server.Connections, conn net.Conn) { c.State(conn, http.StateClosed) }, 1},
		"taken over":             {0, func(c *server.Connections, conn net.Conn) { c.State(conn, http.StateHijacked) }, 1},
		"a stream":               {0, func(c *server.Connections, conn net.Conn) { c.Streaming(conn) }, 1},
		"a body that has come": {0, func(c *server.Connections, conn net.Conn) {
			io.ReadAll(c.Body(conn, io.NopCloser(strings.NewReader("hello"))))
		}, 1},
		"a stream that is over": {0, func(c *server.Connections, conn net.Conn) {
			c.Streaming(conn)()
			c.State(conn, http.StateIdle)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, l := server.NewConnections()
				enter(l, server.EarlyPlaces-1)()
				conn, other := net.Pipe()
				defer other.Close()
				c.State(conn, http.StateNew)
				c.State(conn, http.StateActive)
				c.State(conn, http.StateIdle)
				time.Sleep(test.pause)
				c.State(conn, http.StateActive)
				if test.end != nil {
					test.end(c, conn)
				}
				if got := enter(l, 2)(); len(got) != test.places {
					t.Errorf("%d places are free, want %d", len(got), test.places)
				}
				time.Sleep(2 * server.EarlyTime)
			})
		})
	}
}

// A request over HTTP/2 takes a turn until it is answered. One that was reset while it waited is
// not looked at.
func TestRequestsOverHTTP2TakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(server.Line)
		enter(l, server.EarlyPlaces)()
		ctx, reset := context.WithCancel(t.Context())
		r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
		go l.ServeHTTP2(func(http.ResponseWriter, *http.Request) { t.Error("it is answered") }, httptest.NewRecorder(), r)
		synctest.Wait()
		reset()
		l.Leave()
		synctest.Wait()
		for name, begin := range map[string]func(w http.ResponseWriter){
			"a status":    func(w http.ResponseWriter) { w.WriteHeader(404) },
			"a body":      func(w http.ResponseWriter) { w.Write([]byte("x")) },
			"a flush":     func(w http.ResponseWriter) { http.NewResponseController(w).Flush() },
			"two of them": func(w http.ResponseWriter) { w.WriteHeader(200); w.Write([]byte("x")) },
		} {
			end := make(chan struct{})
			go l.ServeHTTP2(func(w http.ResponseWriter, _ *http.Request) {
				begin(w)
				<-end
			}, httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			synctest.Wait()
			if got := enter(l, 1)(); len(got) != 1 {
				t.Errorf("a response that has begun with %s holds the place", name)
			}
			close(end)
			synctest.Wait()
			l.Leave()
		}
		time.Sleep(server.EarlyTime)
	})
}
