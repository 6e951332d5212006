package hub

import (
	"context"
	"runtime"
	"sync"

	"example.com/tidings/internal/delivery"
)

// A catchUp reads from the log for one stream whose place is not in the window. Its cursor
// belongs to a goroutine of the pool while it is running, and to the shard's otherwise. All
// else is the shard's.
type catchUp struct {
	*cursor
	feed   *feed
	stream delivery.Stream
	ctx    context.Context // done when the stream has ended, or has returned to the window
	cancel context.CancelFunc

	running bool
	at      whereabouts // where the cursor is, after what it has found
	told    uint64      // the position of the last event that it has found

	// exact is whether the stream's set has counted everything that the stream is owed
	// since it was detached.
	exact bool
}

// findings are what a catchUp has found for its stream to be sent.
type findings struct {
	frames []delivery.Frame
	told   uint64
	at     whereabouts
	err    error
}

// add adds a frame.
func (f *findings) add(frame delivery.Frame, position uint64) {
	f.frames, f.told = append(f.frames, frame), position
}

// bind makes the catchUp that of a stream.
func (c *catchUp) bind(f *feed, slot uint32) {
	c.feed, c.stream = f, f.shard.Name(slot)
	c.ctx, c.cancel = context.WithCancel(f.hub.ctx)
	c.cursor.owed = c.askOwed
	c.cursor.recount = c.recountFromNow
}

// submit has the pool look for what comes next.
func (c *catchUp) submit() {
	c.running = true
	c.feed.engine.pool.submit(c)
}

// run looks for what comes next, until there is something.
func (c *catchUp) run() {
	found := findings{told: c.told}
	for len(found.frames) == 0 && found.at == onTheWay && found.err == nil {
		if c.ctx.Err() != nil {
			found.at = ended
			break
		}
		found.at, found.err = c.step(c.ctx, &found)
	}
	if c.ctx.Err() != nil {
		found = findings{at: ended, told: c.told}
	}
	if !c.feed.shard.Do(func() { c.feed.found(c, found) }) {
		c.cancel()
	}
}

// askOwed asks the shard what the stream is owed.
func (c *catchUp) askOwed() (n, head uint64, ok bool) {
	answered := make(chan struct{})
	if !c.feed.shard.Do(func() {
		defer close(answered)
		n, head, ok = c.feed.owed(c)
	}) {
		return 0, 0, false
	}
	<-answered
	return n, head, ok
}

// recountFromNow has nobody know what the stream is owed, until it has returned to the
// window.
func (c *catchUp) recountFromNow() { c.feed.shard.Do(func() { c.exact = false }) }

// A pool runs catchUps, some at a time, in the order in which they come.
type pool struct {
	mu      sync.Mutex
	waiting []*catchUp
	running int
	most    int
	done    sync.WaitGroup
}

func newPool() *pool { return &pool{most: 2 * runtime.GOMAXPROCS(0)} }

func (p *pool) submit(c *catchUp) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, c)
	if p.running < p.most {
		p.running++
		p.done.Go(p.work)
	}
}

func (p *pool) work() {
	for {
		p.mu.Lock()
		if len(p.waiting) == 0 {
			p.running--
			p.waiting = nil
			p.mu.Unlock()
			return
		}
		c := p.waiting[0]
		p.waiting[0] = nil
		p.waiting = p.waiting[1:]
		p.mu.Unlock()
		c.run()
	}
}
