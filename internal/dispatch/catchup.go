package dispatch

import (
	"context"
	"runtime"
	"sync"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/delivery"
	"example.com/tidings/internal/window"
	"example.com/tidings/internal/yield"
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

	form uint8 // of the frames that the stream is sent; window.NoForm for an iterator
	hold       // belongs to the dispatcher's room

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
	c.form = f.shard.Form(slot)
	if f.shard.SinkOf(slot) == delivery.Iterator {
		c.form = window.NoForm
	}
	c.Cursor.take = c.takeEntry
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

// run reads on until it finds something to send, and hands it to the feed. If there is no room
// for that, it returns, and the room submits the catchUp again.
func (c *catchUp) run() {
	found := findings{told: c.told}
	room := c.feed.dispatcher.room
	c.begin(room.target())
	for len(found.frames) == 0 && found.at == reading && found.err == nil {
		if c.ctx.Err() != nil {
			found.at = ended
			break
		}
		c.lacks = 0
		found.at, found.err = c.step(c.ctx, &found)
		if c.lacks > 0 && len(found.frames) == 0 && found.err == nil && !room.take(c, c.lacks) {
			return
		}
	}
	room.keep(c)
	if found.at == inWindow {
		c.place()
	}
	if c.ctx.Err() != nil {
		found = findings{at: ended, told: c.told}
	}
	found.names = c.timeline
	if !c.feed.shard.Do(func() { c.feed.found(c, found) }) {
		c.cancel()
		room.leave(c)
	}
}

// takeEntry reports whether the stream has room for an entry beside those that were found.
// Otherwise it notes how much room is lacking.
func (c *catchUp) takeEntry(e *window.Entry, found *findings) bool {
	n := e.Cost(c.form)
	room := c.feed.dispatcher.room
	switch {
	case len(found.frames) > 0 && c.spent+n > c.target:
		return false
	case !room.grow(c, c.spent+n):
		c.lacks = n
		return false
	}
	c.spent += n
	c.data += len(e.Data)
	return true
}

// begin begins a run that may take so many bytes of room. It expects that messages take as many
// bytes for each byte of data as the last ones did.
func (c *catchUp) begin(target int) {
	growth := 1
	if c.data > 0 {
		growth = max(1, c.spent/c.data)
	}
	c.target, c.readMost = target, max(1, target/growth)
	c.spent, c.data = 0, 0
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

func newPool() *pool { return &pool{most: yield.Half()} }

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
		runtime.Gosched() // a new message goes first
	}
}
