package hub

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"example.com/tidings/internal/fanout"
)

// An errand is that of a stream whose place is not in the window: a cursor goes for
// what it is owed. It belongs to the shard's goroutine, or while running to one of the
// pool's.
type errand struct {
	c      *cursor
	feed   *feed
	stream fanout.Stream
	format Format
	ctx    context.Context // done when the stream has ended
	cancel context.CancelFunc

	running bool        // the shard's, at all times
	at      whereabouts // where the cursor is, after what it has found
	told    uint64      // the position of the last event that it has found
}

// findings are what a cursor has found for its stream to send.
type findings struct {
	pieces [][]byte
	told   uint64
	at     whereabouts
	err    error
}

// end gives back what the errand has taken.
func (e *errand) end() {
	e.cancel()
	e.feed.hub.leave(e.c)
}

// run looks for what comes next, until there is something.
func (e *errand) run() {
	found := findings{told: e.told}
	c := e.c
	for len(found.pieces) == 0 && found.at == onTheWay && found.err == nil {
		if c.isInWindow() {
			found.at = inWindow
			break
		}
		found.at, found.err = c.step(e.ctx, func(it item) bool {
			piece, told := e.encode(it)
			if piece == nil {
				found.err = errNoFrame
				return false
			}
			found.pieces, found.told = append(found.pieces, piece), told
			return true
		})
		if found.at == atHead {
			found.at = inWindow
		}
	}
	if e.ctx.Err() != nil {
		found = findings{at: ended, told: e.told}
	}
	if !e.feed.shard.Do(func() { e.feed.returned(e, found) }) {
		e.end()
	}
}

// errNoFrame is the error for an event that cannot be on the wire.
var errNoFrame = errors.New("an event of the log cannot be sent")

// isInWindow reports whether all that comes next is in the view.
func (c *cursor) isInWindow() bool {
	v := c.hub.view.load()
	return c.first == (item{}) && !c.choosing() && v.era() == c.era && c.pos+1 >= v.first
}

// encode returns an item as it stands on the wire, and its position.
func (e *errand) encode(it item) (piece []byte, position uint64) {
	if it.entry != nil {
		return it.entry.Wire(uint8(e.format)), it.entry.Seq
	}
	return chunk(gapEvent(it.gap)), e.c.pos
}

// A pool runs errands, some at a time, in the order in which they come.
type pool struct {
	mu      sync.Mutex
	waiting []*errand
	running int
	most    int
	done    sync.WaitGroup
}

func newPool() *pool { return &pool{most: 2 * runtime.GOMAXPROCS(0)} }

func (p *pool) submit(e *errand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, e)
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
		e := p.waiting[0]
		p.waiting[0] = nil
		p.waiting = p.waiting[1:]
		p.mu.Unlock()
		e.run()
	}
}
