package server

import (
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/tidings/internal/yield"
)

// What a client may send on a connection of HTTP/2 beside requests and their bodies. An honest
// client sends a frame or two for each stream, and for each 4 KiB that it has read.
const (
	controlRate  = 200  // frames a second
	controlBurst = 1000 // frames at once

	// Of its burst, a connection has ownBurst for itself. Beyond that, all connections
	// together may send so many frames: a client that floods one connection after the other would get a
	// new burst each time.
	ownBurst    = 100
	sharedRate  = 5000
	sharedBurst = 16 * controlBurst

	// updateBytes is how many bytes of DATA allow a client one WINDOW_UPDATE: the client of
	// net/http sends two for each 4 KiB that it has read. A DATA frame counts as 4 KiB at
	// least, because some clients send two for each frame.
	updateBytes = 2 << 10
	updateFrame = 2 * updateBytes

	// mostUpdates bounds the WINDOW_UPDATEs that are allowed because of earlier DATA. So many
	// are for 128 MiB.
	mostUpdates = 1 << 16

	// smallData is the content below which a DATA frame that does not end a body counts as a
	// control frame.
	smallData = 16
)

// A floodKind is the kind of the frame that was one too many.
type floodKind int

const (
	floodPing floodKind = iota
	floodSettings
	floodReset
	floodRefused // streams that the server has reset
	floodPriority
	floodContinuation
	floodData // DATA that is empty, or almost
	floodWindowUpdate
	floodOther // all other frames, most of which net/http ignores
	floodKinds
)

// floodNames are the values of the label of the metric.
var floodNames = [floodKinds]string{"ping", "settings", "rst_stream", "refused", "priority", "continuation", "data", "window_update", "other"}

// floods counts the connections that were closed because of a flood, by kind. Its methods may
// be called concurrently.
type floods struct {
	closed [floodKinds]atomic.Uint64
	warn   func(kind string, remote net.Addr)
	lane   *yield.Lane // for what the connections have sent

	mu     sync.Mutex
	shared bucket // control frames of all connections
}

func newFloods(warn func(kind string, remote net.Addr)) *floods {
	return &floods{lane: yield.NewLane(yield.Half()), warn: warn, shared: bucket{n: sharedBurst, at: time.Now()}}
}

// take takes one of the frames that all connections share.
func (f *floods) take() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shared.refill(time.Now(), sharedRate, sharedBurst)
	f.shared.n--
	if f.shared.n < 0 {
		f.shared.n = 0
		return false
	}
	return true
}

// A bucket has how many frames may be sent.
type bucket struct {
	n  float64
	at time.Time // when it had n
}

// refill adds what has come since, at a rate of so many a second and up to burst.
func (b *bucket) refill(now time.Time, rate, burst float64) {
	b.n = min(burst, b.n+now.Sub(b.at).Seconds()*rate)
	b.at = now
}

// A countedConn is a connection that may be one of HTTP/2, seen as plaintext: below TLS it
// would see ciphertext. It closes the connection when the client floods it with frames that cost the
// server more than the client. It has no ConnectionState, so http.Server serves it as HTTP/2 without TLS.
// A client that does not begin with the preface of HTTP/2 is not counted. Over TLS, where ALPN has
// agreed on HTTP/2, such a client is closed.
//
// Read and Write may be called concurrently, each by one goroutine at a time.
type countedConn struct {
	net.Conn
	floods *floods
	strict bool // a client that does not begin with the preface is closed
	ended  atomic.Bool
	work   yield.Work // of the goroutine that reads

	writing sync.Mutex // of the next two
	out     frameScanner
	closed  bool // no more is written

	mu      sync.Mutex // of the rest
	preface int        // bytes of the preface that the client has sent
	plain   bool       // it has sent something else
	in      frameScanner
	newest  uint32 // stream that the client has begun
	deaf    bool   // what the client sends is dropped
	control bucket // control frames that the client may send
	updates int    // bytes of DATA that allow WINDOW_UPDATEs
}

func newCountedConn(conn net.Conn, f *floods) *countedConn {
	return &countedConn{Conn: conn, floods: f, work: yield.In(f.lane), control: bucket{n: controlBurst, at: time.Now()}}
}

// frameNanos is about how long net/http, and the handlers, are busy for a read of a frame's head or content.
const frameNanos = 25_000

// Read returns io.EOF when the client has sent too many frames.
func (c *countedConn) Read(p []byte) (int, error) {
	for {
		c.work.Pause() // it waits for the client
		n, err := c.Conn.Read(p)
		if err == nil {
			c.work.Resume()
			c.work.Did(frameNanos + n)
		}
		switch what, kind := c.received(p[:n]); {
		case what == receivedFlood:
			c.work.Pause()
			c.end(kind)
			return 0, io.EOF
		case what == receivedPlain && c.strict:
			c.work.Pause()
			bare(c).Close()
			return 0, io.EOF
		case what == receivedLate && err == nil:
			continue
		}
		return n, err
	}
}

// What the client has sent.
type receipt int

const (
	receivedFrames receipt = iota
	receivedFlood
	receivedPlain // not HTTP/2
	receivedLate  // something that nobody is to see
)

// received counts what the client has sent. With a flood it returns its kind.
func (c *countedConn) received(p []byte) (what receipt, kind floodKind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deaf {
		return receivedLate, 0
	}
	if c.preface < len(clientPreface) && !c.plain {
		n := min(len(p), len(clientPreface)-c.preface)
		c.plain = !strings.HasPrefix(clientPreface[c.preface:], string(p[:n]))
		c.preface += n
		p = p[n:]
	}
	if c.plain {
		return receivedPlain, 0
	}
	if len(p) == 0 {
		return receivedFrames, 0
	}
	c.control.refill(time.Now(), controlRate, controlBurst)
	c.in.scan(p, func(f frame) {
		if k, counts := c.kindOf(f); counts && what != receivedFlood && !c.take() {
			what, kind = receivedFlood, k
		}
	})
	return what, kind
}

// take counts a control frame. It returns false if that was one too many. The caller has c.mu.
func (c *countedConn) take() bool {
	c.control.n--
	return c.control.n >= controlBurst-ownBurst || c.control.n >= 0 && c.floods.take()
}

// kindOf returns the kind of a frame from the client, and whether it counts as a control
// frame. A header block that begins a stream, or ends one as trailers, does not: the number of streams
// is bounded, and the end of a stream counts if one side resets it.
func (c *countedConn) kindOf(f frame) (kind floodKind, counts bool) {
	switch f.kind {
	case frameHeaders:
		c.newest = max(c.newest, f.stream)
		return 0, false
	case frameData:
		return floodData, f.content < smallData && f.flags&flagEndStream == 0
	case frameWindowUpdate:
		if c.updates >= updateBytes {
			c.updates -= updateBytes
			return 0, false
		}
		return floodWindowUpdate, true
	case framePing:
		return floodPing, true
	case frameSettings:
		return floodSettings, true
	case frameRSTStream:
		return floodReset, true
	case framePriority:
		return floodPriority, true
	case frameContinuation:
		return floodContinuation, true
	}
	return floodOther, true
}

// Write returns net.ErrClosed when the server has to reset too many streams.
func (c *countedConn) Write(p []byte) (int, error) {
	c.writing.Lock()
	if c.closed {
		c.writing.Unlock()
		return 0, net.ErrClosed
	}
	flooded := c.sends(p)
	n, err := c.Conn.Write(p)
	c.writing.Unlock()
	if flooded {
		c.end(floodRefused)
	}
	return n, err
}

// sends counts what the server sends: DATA, which allows WINDOW_UPDATEs, and resets, to which a
// client can drive the server as fast as it can reset streams itself.
func (c *countedConn) sends(p []byte) (flooded bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.scan(p, func(f frame) {
		switch {
		case f.kind == frameData && f.length > 0:
			c.updates = min(mostUpdates*updateBytes, c.updates+max(updateFrame, f.length))
		case f.kind == frameRSTStream:
			c.control.refill(time.Now(), controlRate, controlBurst)
			flooded = flooded || !c.take()
		}
	})
	return flooded
}
