package server

import (
	"sync"
	"time"
)

// When memory is given back to the system.
const (
	manyConnections = 1000
	quietFor        = 2 * time.Second
)

// A giveBack calls release once after many connections have come and no other has for a
// while. net/http leaves much garbage behind for each of them, most of all where a hub
// takes the connection over, and the runtime gives that memory back to the system
// slowly, if at all. Methods may be called concurrently.
type giveBack struct {
	release func() // runtime/debug.FreeOSMemory, but for tests

	mu     sync.Mutex
	came   int       // connections since memory was given back
	last   time.Time // when the last of them came
	timer  *time.Timer
	closed bool
}

// connected takes note of a connection.
func (g *giveBack) connected() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.came++
	g.last = time.Now()
	if g.came >= manyConnections && g.timer == nil && !g.closed {
		g.timer = time.AfterFunc(quietFor, g.quiet)
	}
}

// quiet gives memory back, unless another connection has come since the timer was set.
func (g *giveBack) quiet() {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return
	}
	if left := quietFor - time.Since(g.last); left > 0 {
		g.timer.Reset(left)
		g.mu.Unlock()
		return
	}
	g.came, g.timer = 0, nil
	g.mu.Unlock()
	g.release()
}

// close has release not called any more.
func (g *giveBack) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	if g.timer != nil {
		g.timer.Stop()
	}
}
