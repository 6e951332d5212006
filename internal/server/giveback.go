package server

import (
	"sync"
	"time"
)

// When a giveBack calls release.
const (
	manyConnections = 1000
	quietFor        = 2 * time.Second
)

// A giveBack calls release once when, after manyConnections, no other comes for quietFor.
// net/http leaves much garbage behind for each connection, most of all when the hub takes
// it over. The runtime gives that memory back to the system slowly, if at all. Methods may
// be called concurrently.
type giveBack struct {
	release func() // runtime/debug.FreeOSMemory, except in tests

	mu     sync.Mutex
	came   int       // connections since the last release
	last   time.Time // when the last of them came
	timer  *time.Timer
	closed bool
}

// connected counts a new connection.
func (g *giveBack) connected() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.came++
	g.last = time.Now()
	if g.came >= manyConnections && g.timer == nil && !g.closed {
		g.timer = time.AfterFunc(quietFor, g.quiet)
	}
}

// quiet calls release, unless another connection has come since the timer was set.
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

// close ends the calls of release.
func (g *giveBack) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	if g.timer != nil {
		g.timer.Stop()
	}
}
