package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/tidings/hub"
)

// connections knows the open connections that net/http serves, and makes room for a newcomer
// when there are too many: it closes the one that has waited longest for its client. Methods may
// be called concurrently.
type connections struct {
	limits Limits
	hub    *hub.Hub // set before the first connection comes
	freed  chan struct{}
	closed chan struct{}

	waited, lasted, refused atomic.Uint64 // connections that were closed to make room

	mu    sync.Mutex
	known map[net.Conn]*connection
	fresh queue // connections whose client has to send something, and has not sent a whole request yet
	idle  queue // such connections of clients that have
	busy  queue // connections with a request that is no stream

	sweeping bool // sweep will be called
	looking  bool // look will be called
	retiring bool // retire will be called
	wasCut   bool // cut has closed connections

	early line
}

func newConnections(limits Limits) *connections {
	c := &connections{limits: limits, freed: make(chan struct{}, 1), closed: make(chan struct{}), known: map[net.Conn]*connection{}}
	c.fresh.init()
	c.idle.init()
	c.busy.init()
	return c
}

// A connection is an element of the queue that it is in, if any.
type connection struct {
	conn       net.Conn
	since      time.Duration      // when it came into the queue, by uptime
	streams    int                // requests of it that are streams
	idled      bool               // was reported idle
	resting    bool               // was reported idle, and has had no request since
	http2      *countedConn       // of conn, if it is reported as one
	newest     uint32             // stream of http2 when it came to rest
	served     bool               // has had a request that is done
	early      bool               // has a request that came early, and is in the line
	head       bool               // waits for the head of a request of HTTP/1
	late       bool               // waits for its turn in a handshake
	before     int64              // bytes that were read before that head; -1 if sweep has to find out
	cancel     context.CancelFunc // of the request of HTTP/1 that is a stream, or nil
	arrived    atomic.Bool        // what it waits for: it is in the queue of those that wait, and is busy
	gone       bool               // it is closed, and forgotten
	in         *queue
	prev, next *connection
}

// A queue has connections in the order in which they came into it.
type queue struct {
	root connection // prev of it is the newest, next the oldest
	n    int
}

func (q *queue) init() { q.root.prev, q.root.next = &q.root, &q.root }

// oldest returns nil if the queue is empty.
func (q *queue) oldest() *connection {
	if q.n == 0 {
		return nil
	}
	return q.root.next
}

// leave takes the connection out of its queue.
func (k *connection) leave() {
	if k.in != nil {
		k.prev.next, k.next.prev = k.next, k.prev
		k.in.n--
		k.in, k.prev, k.next = nil, nil, nil
	}
}

// enter puts it at the end of a queue.
func (k *connection) enter(q *queue) {
	k.leave()
	k.prev, k.next, k.in = q.root.prev, &q.root, q
	k.prev.next, k.next.prev = k, k
	q.n++
	k.since = uptime()
	k.arrived.Store(false)
}

// started is what uptime counts from.
var started = time.Now()

// uptime is a clock that costs half of time.Now.
func uptime() time.Duration { return time.Since(started) }

// bare returns the connection of the operating system.
func bare(conn net.Conn) net.Conn {
	if c, ok := conn.(*countedConn); ok {
		conn = c.Conn
	}
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	if c, ok := conn.(*turnConn); ok {
		conn = c.Conn
	}
	return conn
}

// add notes a connection that was accepted. The caller has c.mu.
func (c *connections) add(conn net.Conn) *connection {
	k := &connection{conn: conn, head: true}
	c.known[conn] = k
	k.enter(&c.fresh)
	c.sweepLater()
	return k
}

// wait puts a connection among those that wait for their client. The caller has c.mu.
func (c *connections) wait(k *connection) {
	if k.http2 != nil {
		k.newest = k.http2.begun()
		c.retireLater(idleTimeout)
	}
	if k.served {
		k.enter(&c.idle)
	} else {
		k.enter(&c.fresh)
	}
}

// state is the server's ConnState. A request that came early waits here for its turn.
func (c *connections) state(conn net.Conn, state http.ConnState) {
	over, begins := c.changed(conn, state)
	if over {
		c.early.leave()
	}
	if begins {
		c.early.enter()
	}
}

// changed notes the state of a connection. It reports whether an early request is over, and whether one
// begins.
func (c *connections) changed(conn net.Conn, state http.ConnState) (over, begins bool) {
	http2, counted := conn.(*countedConn)
	conn = bare(conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[conn]
	if k != nil {
		over, k.early = k.early, false
		k.resting, k.http2 = state == http.StateIdle, http2
	}
	if k != nil && state == http.StateIdle {
		k.served = !counted || k.idled // one of HTTP/2 is idle before its first request
		k.idled = true
		if k.head = !counted; k.head {
			c.beginHead(k)
		}
		c.sweepLater()
	}
	switch state {
	case http.StateNew:
		if k == nil { // it did not come from a boundedListener
			c.add(conn)
		}
	case http.StateActive, http.StateIdle:
		switch {
		case k == nil || k.streams > 0:
		case state == http.StateActive:
			k.early = k.idled && !counted && uptime()-k.since < atOnce
			begins = k.early
			k.head = false
			k.enter(&c.busy)
		default:
			c.wait(k)
		}
	case http.StateHijacked, http.StateClosed:
		c.remove(conn)
	}
	return over, begins
}

// beginHead notes what was read before a head. The caller has c.mu.
func (c *connections) beginHead(k *connection) {
	k.before = -1
	if len(c.known) >= leastSweep { // otherwise the system call is not worth it
		k.before = readBytes(k.conn)
	}
}

// secured notes that the handshake of a connection is over. Until then its bytes count as a head.
func (c *connections) secured(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.known[conn]; k != nil {
		c.beginHead(k)
	}
}

// late notes that a connection whose handshake is under way waits for the server, or that it does
// not any more.
func (c *connections) late(conn net.Conn, yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.known[conn]; k != nil {
		k.late = yes
		c.waits(k, !yes)
	}
}

// cut closes all connections at once. Those of TLS would say goodbye first, one after the other, and
// wait up to 5 seconds for each client that does not read. It reports whether there were any, then or
// in an earlier call.
func (c *connections) cut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.known {
		k.close()
		c.wasCut = true
	}
	return c.wasCut
}

// gone notes that a connection is closed that net/http has not seen.
func (c *connections) gone(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(conn)
}

// remove forgets a connection. The caller has c.mu.
func (c *connections) remove(conn net.Conn) {
	k := c.known[conn]
	if k == nil {
		return
	}
	k.leave()
	k.gone = true
	delete(c.known, conn)
	select {
	case c.freed <- struct{}{}:
	default:
	}
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

// context is the server's ConnContext.
func (c *connections) context(ctx context.Context, conn net.Conn) context.Context {
	conn = bare(conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[conn]
	if k == nil { // it did not come from a boundedListener
		k = c.add(conn)
	}
	return context.WithValue(ctx, connKey{}, k)
}

// connectionOf returns the connection of a request.
func connectionOf(r *http.Request) *connection {
	k, _ := r.Context().Value(connKey{}).(*connection)
	return k
}

// streaming notes that a request is a stream, until done is called. Its connection is not
// closed for a newcomer meanwhile: the number of streams has a bound of its own.
func (c *connections) streaming(r *http.Request) (done func()) {
	k := connectionOf(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	if k == nil || k.gone {
		return func() {}
	}
	c.leaveLine(k) // it may go on for hours
	k.streams++
	k.leave()
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if k.streams--; k.streams == 0 && !k.gone {
			k.cancel = nil
			if k.resting { // the client has reset the stream, and the handler is late
				c.wait(k)
			} else {
				k.enter(&c.busy)
			}
		}
	}
}

// How long a connection stays undisturbed although others need its place. The time is
// shorter the fewer such connections there are, so that newcomers find room at the same rate:
// some 8,000 a second take the places of clients that have sent no whole request yet, and 3,000 those of
// others.
const (
	leastFresh   = 10 * time.Millisecond
	freshForEach = 125 * time.Microsecond
	leastOther   = 100 * time.Millisecond
	otherForEach = 300 * time.Microsecond
	mostQuiet    = 500 * time.Millisecond
)

// quietFor returns how long a connection of a queue stays undisturbed.
func (c *connections) quietFor(q *queue) time.Duration {
	if q == &c.fresh {
		return min(mostQuiet, max(leastFresh, time.Duration(q.n)*freshForEach))
	}
	return min(mostQuiet, max(leastOther, time.Duration(q.n)*otherForEach))
}

// roomTime is how long a newcomer may wait for room, recheck how often it looks for it.
const (
	roomTime = time.Second
	recheck  = 10 * time.Millisecond
)

// admit waits until there is room for a connection that was accepted, and notes it. It
// returns false if there is none.
func (c *connections) admit(conn net.Conn) bool {
	var timer *time.Timer
	for begin := uptime(); ; {
		now := uptime()
		c.mu.Lock()
		if !c.full() {
			c.add(conn)
			c.mu.Unlock()
			return true
		}
		possible := c.makeRoom(now, false)
		c.mu.Unlock()
		if !possible || now-begin > roomTime {
			return false
		}
		if timer == nil {
			timer = time.NewTimer(recheck)
			defer timer.Stop()
		} else {
			timer.Reset(recheck)
		}
		select {
		case <-c.freed:
		case <-timer.C:
		case <-c.closed:
			return false
		}
	}
}

// full reports whether a limit is reached. The caller has c.mu.
func (c *connections) full() bool {
	if c.withoutStream() >= c.limits.Requests {
		return true
	}
	return c.count() >= c.limits.Connections
}

// withoutStream returns how many connections have no stream. The caller has c.mu.
func (c *connections) withoutStream() int { return c.fresh.n + c.idle.n + c.busy.n }

// count returns how many connections are open. The caller has c.mu.
func (c *connections) count() int {
	n := len(c.known)
	if c.hub != nil {
		n += c.hub.TakenOver()
	}
	return n
}

// makeRoom closes the connection that has waited longest for its client, or else the one with
// the oldest request, if it may be disturbed, or if hurry is set. It reports whether there is one
// that may be disturbed now or later. The caller has c.mu.
func (c *connections) makeRoom(now time.Duration, hurry bool) bool {
	for _, q := range [...]*queue{&c.fresh, &c.idle, &c.busy} {
		for tries := 0; tries < mostTries; {
			k := q.oldest()
			if k == nil || !hurry && now-k.since < c.quietFor(q) {
				break
			}
			switch since := k.since; {
			case k.late && !hurry && now-since < patience:
				k.enter(q)
				k.since = since
				tries++
				continue
			case q == &c.busy:
			case k.arrived.Load():
				k.enter(&c.busy)
				k.since = since
				continue
			case hasUnread(k.conn): // it is the server that is late
				k.enter(q)
				tries++
				continue
			}
			k.close()
			if q == &c.busy {
				c.lasted.Add(1)
			} else {
				c.waited.Add(1)
			}
			return true
		}
		if !hurry && othersForOne*q.n >= c.withoutStream() {
			break // soon one of these may be disturbed
		}
	}
	return c.withoutStream() > 0
}

// othersForOne is how many connections without a stream there are for each one of a queue that
// is waited for, before others are disturbed.
const othersForOne = 4

// mostTries bounds how many connections makeRoom passes over.
const mostTries = 16

// close closes a connection, which stays known until net/http notices.
func (k *connection) close() {
	k.leave()
	k.conn.Close()
}

// body returns the body of a request. While it waits for the client, the connection does.
func (c *connections) body(r *http.Request) io.ReadCloser {
	k := connectionOf(r)
	if r.Body == http.NoBody || r.ProtoMajor != 1 || k == nil {
		return r.Body
	}
	return &body{r.Body, c, k}
}

// A body is that of a request over HTTP/1. A connection of HTTP/2 may have others.
type body struct {
	io.ReadCloser
	of   *connections
	conn *connection
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	b.of.mu.Lock()
	b.of.waits(b.conn, true)
	early := b.conn.early
	b.of.mu.Unlock()
	n, err := b.ReadCloser.Read(p)
	b.conn.arrived.Store(true)
	if early && err != nil { // what follows is to store it: a pipelining publisher does not wait for a place
		b.of.mu.Lock()
		defer b.of.mu.Unlock()
		b.of.leaveLine(b.conn)
	}
	return n, err
}

// leaveLine ends the turn of an early request. The caller has c.mu.
func (c *connections) leaveLine(k *connection) {
	if k.early {
		k.early = false
		c.early.leave()
	}
}

// waits notes whether a connection waits for its client, unless it is closed. The caller has c.mu.
func (c *connections) waits(k *connection, yes bool) {
	switch {
	case k.in == nil:
	case yes:
		c.wait(k)
	default:
		k.enter(&c.busy)
	}
}

// A boundedListener makes room for new connections, or closes them while there is none: an
// EventSource reconnects by itself, as after any lost connection. Accept is for one goroutine at a
// time.
type boundedListener struct {
	net.Listener
	connections *connections
	warn        func()
	close       sync.Once
}

// Close implements [net.Listener].
func (l *boundedListener) Close() error {
	l.close.Do(func() { close(l.connections.closed) })
	return l.Listener.Close()
}

// Accept implements [net.Listener].
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		switch {
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
			// Serve would wait for up to a second.
			l.warn()
			l.connections.hurry()
		case err != nil:
			return nil, err
		case l.connections.admit(conn):
			return conn, nil
		default:
			conn.Close()
			l.connections.refused.Add(1)
			l.warn()
		}
	}
}

// hurry makes room when the process has no descriptor left, and waits a moment for it.
func (c *connections) hurry() {
	c.mu.Lock()
	c.makeRoom(uptime(), true)
	c.mu.Unlock()
	select {
	case <-c.freed:
	case <-time.After(recheck):
	case <-c.closed:
	}
}
