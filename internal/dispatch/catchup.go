package dispatch

import (
	"context"
	"runtime"
	"sync"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/delivery"
)

// A catchUp reads the log for one stream that is not in the window. While running is set,
// its cursor belongs to a goroutine of the pool, and otherwise to the shard's goroutine. The
// other fields belong to the shard's goroutine.
type catchUp struct {
	*Cursor
	feed   *feed
	stream delivery.Stream
	ctx    context.Context // done when the stream has ended, or has returned to the window
	cancel context.CancelFunc

	running bool
	at      stage             // where the cursor is, after what it has found
	told    uint64            // the position of the last event that it has found
	names   eventlog.Timeline // tells the ids of what it has found last
	placed  placed            // of a cursor that has reached the window; it belongs to whoever has the cursor
	had     uint64            // the client's position before that
	hadID   string            // the id of the client's last event at that position

	// exact is whether the stream's set has counted every matching entry since the stream
	// was detached.
	exact bool
}

// findings are the frames that a catchUp has found for its stream.
type findings struct {
	frames []delivery.Frame
	told   uint64
	names  eventlog.Timeline
	at     stage
	err    error
}

// add adds a frame.
func (f *findings) add(frame delivery.Frame, position uint64) {
	f.frames, f.told = append(f.frames, frame), position
}

// bind ties the catchUp to a stream.
func (c *catchUp) bind(f *feed, slot uint32) {
	c.feed, c.stream = f, f.shard.Name(slot)
	c.ctx, c.cancel = context.WithCancel(f.dispatcher.window.Context())
	c.Cursor.owed = c.askOwed
	c.Cursor.forgetOwed = c.setInexact
}

// tell records what was found, which the stream is now sent.
func (c *catchUp) tell(found findings) {
	if len(found.frames) == 0 {
		return
	}
	if c.told != c.had {
		c.had, c.hadID = c.told, c.idOf(c.told)
	}
	c.told, c.names = found.told, found.names
}

// idOf returns the id of the last event of a client at a position. While a gap is to be told,
// that may be an id of another log, or of another time of this one.
func (c *catchUp) idOf(position uint64) string {
	if position == c.had {
		return c.hadID
	}
	return c.names.Position(position).String()
}

// submit has a goroutine of the pool call run.
func (c *catchUp) submit() {
	c.running = true
	c.feed.dispatcher.pool.submit(c)
}

// run reads on until it finds something to send, and hands it to the feed.
func (c *catchUp) run() {
	found := findings{told: c.told}
	for len(found.frames) == 0 && found.at == reading && found.err == nil {
		if c.ctx.Err() != nil {
			found.at = ended
			break
		}
		found.at, found.err = c.step(c.ctx, &found)
	}
	if found.at == inWindow {
		c.place()
	}
	if c.ctx.Err() != nil {
		found = findings{at: ended, told: c.told}
	}
	found.names = c.timeline
	if !c.feed.shard.Do(func() { c.feed.found(c, found) }) {
		c.cancel()
	}
}

// askOwed asks the feed how many entries the stream has not received, see feed.owed. It waits
// until head is at least the given number.
func (c *catchUp) askOwed(least uint64) (n, head uint64, ok bool) {
	answered := make(chan struct{})
	var ask func()
	ask = func() {
		n, head, ok = c.feed.owed(c)
		if ok && head < least {
			if c.feed.shard.Do(ask) { // in a later turn
				return
			}
			ok = false
		}
		close(answered)
	}
	if !c.feed.shard.Do(ask) {
		return 0, 0, false
	}
	<-answered
	return n, head, ok
}

// setInexact makes that number unknown until the stream has returned to the window.
func (c *catchUp) setInexact() { c.feed.shard.Do(func() { c.exact = false }) }

// A pool runs catchUps in the order in which they come, a few at a time.
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
