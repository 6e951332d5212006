package hub

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// gatherBytes is how much is gathered for one write.
const gatherBytes = 32 << 10

var gathered = sync.Pool{New: func() any { return new([gatherBytes]byte) }}

// A gatherer writes events together where another comes at once: a subscriber
// that catches up costs a write to the kernel for some hundred events, not for each.
// It passes on what it holds before the sequence can wait for anything. A single
// event is passed through. Its locking is that of the sse.Serve that
// writes to it, which has keep-alives come from another goroutine.
type gatherer struct {
	http.ResponseWriter
	rc   *http.ResponseController
	more atomic.Bool // another event follows at once: flushing can wait for that
	held []byte
	buf  *[gatherBytes]byte // what held is in, while there is any
}

func newGatherer(w http.ResponseWriter) *gatherer {
	return &gatherer{ResponseWriter: w, rc: http.NewResponseController(w)}
}

// Unwrap lets sse.Serve see what it writes to.
func (g *gatherer) Unwrap() http.ResponseWriter { return g.ResponseWriter }

func (g *gatherer) Write(b []byte) (int, error) {
	if len(g.held)+len(b) > gatherBytes || !g.more.Load() && len(g.held) == 0 {
		if err := g.pass(); err != nil {
			return 0, err
		}
		if !g.more.Load() || len(b) > gatherBytes {
			return g.ResponseWriter.Write(b)
		}
	}
	if g.buf == nil {
		g.buf = gathered.Get().(*[gatherBytes]byte)
		g.held = g.buf[:0]
	}
	g.held = append(g.held, b...)
	return len(b), nil
}

// FlushError passes on what is held, unless more comes at once.
func (g *gatherer) FlushError() error {
	if g.more.Load() && len(g.held) > 0 {
		return nil
	}
	if err := g.pass(); err != nil {
		return err
	}
	return g.rc.Flush()
}

// Flush is for those that do not know FlushError.
func (g *gatherer) Flush() { _ = g.FlushError() }

// SetWriteDeadline is found here, as http.ResponseController looks no further
// than to the first that it can flush.
func (g *gatherer) SetWriteDeadline(t time.Time) error { return g.rc.SetWriteDeadline(t) }

// pass writes what is held.
func (g *gatherer) pass() error {
	if g.buf == nil {
		return nil
	}
	_, err := g.ResponseWriter.Write(g.held)
	g.release()
	return err
}

// release gives the buffer back.
func (g *gatherer) release() {
	if g.buf != nil {
		gathered.Put(g.buf)
		g.buf, g.held = nil, nil
	}
}
