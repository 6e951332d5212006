package server

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/internal/certs"
	"example.com/tidings/internal/yield"
)

// ShutdownGrace is shutdownGrace.
const ShutdownGrace = shutdownGrace

// HTTP returns the http.Server that Run runs for h.
func (s *Server) HTTP(h *hub.Hub) *http.Server {
	s.use(h)
	return s.http
}

// Paced returns the listener that Run uses, with freeMemory in place of
// debug.FreeOSMemory.
func Paced(l net.Listener, freeMemory func()) net.Listener {
	p := newPacedListener(l)
	p.giveBack.release = freeMemory
	return p
}

// The limits of giveBack.
const (
	ManyConnections = manyConnections
	QuietFor        = quietFor
)

// A Frame is what a frameScanner finds.
type Frame struct {
	Kind, Flags     byte
	Length, Content int
	Stream          uint32
}

// Frames returns the frames that begin in the chunks, which one side of a connection sends.
func Frames(chunks ...[]byte) (all []Frame) {
	var s frameScanner
	for _, chunk := range chunks {
		s.scan(chunk, func(f frame) {
			all = append(all, Frame{Kind: f.kind, Flags: f.flags, Length: f.length, Content: f.content, Stream: f.stream})
		})
	}
	return all
}

// Floods counts the floods of several connections.
type Floods = floods

// NewFloods returns Floods that warn nobody.
func NewFloods() *Floods { return newFloods(func(string, net.Addr) {}) }

// Lane has the turns of the connections.
func (f *floods) Lane() *yield.Lane { return f.lane }

// Counted returns a connection whose frames are counted.
func Counted(conn net.Conn, f *Floods) net.Conn { return newCountedConn(conn, f) }

// Closed returns how many connections were closed because of a flood, by kind.
func (f *floods) Closed() map[string]int {
	all := map[string]int{}
	for kind := range f.closed {
		if n := f.closed[kind].Load(); n > 0 {
			all[floodNames[kind]] = int(n)
		}
	}
	return all
}

// The limits of floods.
const (
	ControlRate  = controlRate
	ControlBurst = controlBurst
	OwnBurst     = ownBurst
	SharedRate   = sharedRate
	SharedBurst  = sharedBurst
	UpdateBytes  = updateBytes
)

// HandshakeTimeout is handshakeTimeout.
const HandshakeTimeout = handshakeTimeout

// Handshake returns the TLS connection on a connection that nobody else knows.
func Handshake(pair *certs.Pair, conn net.Conn) (net.Conn, error) {
	w := newWarnings(slog.New(slog.DiscardHandler))
	defer w.close()
	return newHandshakes(pair, NewFloods(), newConnections(Limits{}), w).shake(conn)
}

// IdleTimeout is idleTimeout.
const IdleTimeout = idleTimeout

// SideConnections is sideConnections.
const SideConnections = sideConnections

// LimitsFor returns the limits for so many descriptors.
var LimitsFor = limitsFor

// NewWarnings returns the log of net/http, and a function that logs what was left out.
func NewWarnings(log *slog.Logger) (w io.Writer, close func()) {
	all := newWarnings(log)
	return all, all.close
}

// WarnEvery is warnEvery.
const WarnEvery = warnEvery

// Scrapes returns a function that returns the status of a scrape that collect has made.
func Scrapes(collect func() int) func(context.Context) (int, error) {
	s := &scrapes{collect: func() *response { return &response{status: collect()} }}
	return func(ctx context.Context) (int, error) {
		r, err := s.get(ctx)
		if err != nil {
			return 0, err
		}
		return r.status, nil
	}
}

// ScrapeWait is scrapeWait.
const ScrapeWait = scrapeWait

// Idle returns how many connections wait for a further request.
func (s *Server) Idle() int {
	s.conns.mu.Lock()
	defer s.conns.mu.Unlock()
	return s.conns.idle.n
}

// FillIdle fills the buffers of the system for the clients of idle connections, and returns how
// many these are.
func (s *Server) FillIdle() (n int) {
	s.conns.mu.Lock()
	defer s.conns.mu.Unlock()
	for k := s.conns.idle.root.next; k != &s.conns.idle.root; k = k.next {
		for _, size := range []int{64 << 10, 256, 1} {
			for err := error(nil); err == nil; {
				k.conn.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
				_, err = k.conn.Write(make([]byte, size))
			}
		}
		k.conn.SetWriteDeadline(time.Time{})
		n++
	}
	return n
}

// HoldTurns takes all turns of handshakes, until release is called.
func (s *Server) HoldTurns() (release func()) {
	held := 0
	for s.handshakes.turns.try() {
		held++
	}
	return func() {
		for range held {
			s.handshakes.turns.give()
		}
	}
}

// Turns has a number of turns.
type Turns = turns

// Patience is how long the oldest goes first.
const Patience = patience

// NewTurns returns Turns, for which nobody waits any more once closed is closed.
func NewTurns(n int, closed <-chan struct{}) *Turns { return newTurns(n, closed) }

// Try takes a turn if one is free, Wait waits for one, and Give gives it back.
func (t *turns) Try() bool            { return t.try() }
func (t *turns) Wait(again bool) bool { return t.wait(again) }
func (t *turns) Give()                { t.give() }

// Busy returns how many connections wait for the server.
func (s *Server) Busy() int {
	s.conns.mu.Lock()
	defer s.conns.mu.Unlock()
	return s.conns.busy.n
}

// A Line has the connections whose early requests wait for their turn.
type Line = line

// Enter waits for a turn, Leave ends it.
func (l *line) Enter() { l.enter() }
func (l *line) Leave() { l.leave() }

// ServeHTTP2 answers a request over HTTP/2 when it is its turn.
func (l *line) ServeHTTP2(next http.HandlerFunc, w http.ResponseWriter, r *http.Request) {
	l.serveHTTP(next, w, r)
}

// The bounds of a Line.
const (
	AtOnce      = atOnce
	EarlyPlaces = earlyPlaces
	EarlyTime   = earlyTime
)

// Connections are the open connections of a server.
type Connections = connections

// NewConnections returns Connections, and the line of their early requests.
func NewConnections() (*Connections, *Line) {
	c := newConnections(Limits{Connections: 1000, Requests: 1000})
	return c, &c.early
}

// NewConnectionsFor returns Connections of which there may be n at a time.
func NewConnectionsFor(n int) *Connections {
	return newConnections(Limits{Connections: n, Requests: n})
}

// Admit waits for room for a connection.
func (c *connections) Admit(conn net.Conn) bool { return c.admit(conn) }

// Late notes that a connection waits for its turn in a handshake.
func (c *connections) Late(conn net.Conn) { c.late(conn, true) }

// EndIdle closes connections while the server stops, until done is closed.
func (c *connections) EndIdle(done <-chan struct{}) { c.endIdle(done) }

// State is the server's ConnState.
func (c *connections) State(conn net.Conn, state http.ConnState) { c.state(conn, state) }

// Cut closes all connections, and reports whether there were any.
func (c *connections) Cut() bool { return c.cut() }

// Body returns the body of a request on a connection.
func (c *connections) Body(conn net.Conn, body io.ReadCloser) io.ReadCloser {
	r := &http.Request{Body: body, ProtoMajor: 1}
	return c.body(r.WithContext(c.context(context.Background(), conn)))
}

// Streaming notes that a request on a connection is a stream.
func (c *connections) Streaming(conn net.Conn) (done func()) {
	r := &http.Request{}
	return c.streaming(r.WithContext(c.context(context.Background(), conn)))
}
