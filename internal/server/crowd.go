package server

import (
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"example.com/tidings/hub"
)

// keptFiles is how many descriptors are kept for what is no connection: the log opens
// files all the time, and fails without.
const keptFiles = 64

// A crowd knows how many connections there are.
type crowd struct {
	most int // that there may be
	open atomic.Int64
	hub  atomic.Pointer[hub.Hub]
}

func newCrowd() *crowd {
	n := descriptors()
	return &crowd{most: n - min(keptFiles, n/16)}
}

// state is the server's ConnState.
func (c *crowd) state(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.open.Add(1)
	case http.StateHijacked, http.StateClosed:
		c.open.Add(-1)
	}
}

// full reports whether there is no descriptor for one more, beside the one that was
// just accepted.
func (c *crowd) full() bool {
	n := int(c.open.Load())
	if h := c.hub.Load(); h != nil {
		n += h.TakenOver()
	}
	return n >= c.most
}

// A boundedListener closes connections for which there is no descriptor. An EventSource
// comes back by itself, as after any connection that is lost. Accept is called by one
// goroutine.
type boundedListener struct {
	net.Listener
	crowd  *crowd
	warn   func()
	warned time.Time
}

// warnEvery is how often it is logged that connections were closed.
const warnEvery = 10 * time.Second

func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil || !l.crowd.full() {
			return conn, err
		}
		conn.Close()
		if now := time.Now(); now.Sub(l.warned) > warnEvery {
			l.warned = now
			l.warn()
		}
	}
}
