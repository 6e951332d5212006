package server

import (
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"example.com/tidings/hub"
)

// keptFiles is how many descriptors connections may not use. The log opens files all the
// time and fails without descriptors.
const keptFiles = 64

// connections counts the open connections. Methods may be called concurrently.
type connections struct {
	most int // connections at once
	open atomic.Int64
	hub  atomic.Pointer[hub.Hub]
}

func newConnections() *connections {
	n := descriptors()
	return &connections{most: n - min(keptFiles, n/16)}
}

// state is the server's ConnState.
func (c *connections) state(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.open.Add(1)
	case http.StateHijacked, http.StateClosed:
		c.open.Add(-1)
	}
}

// full reports whether connections use all their descriptors, without the connection
// that was just accepted.
func (c *connections) full() bool {
	n := int(c.open.Load())
	if h := c.hub.Load(); h != nil {
		n += h.TakenOver()
	}
	return n >= c.most
}

// A boundedListener closes new connections while no descriptor is left. An EventSource
// reconnects by itself, as after any lost connection. Accept is for one goroutine at a
// time.
type boundedListener struct {
	net.Listener
	connections *connections
	warn        func()
	warned      time.Time
}

// warnEvery is the shortest time between two warnings about closed connections.
const warnEvery = 10 * time.Second

func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil || !l.connections.full() {
			return conn, err
		}
		conn.Close()
		if now := time.Now(); now.Sub(l.warned) > warnEvery {
			l.warned = now
			l.warn()
		}
	}
}
