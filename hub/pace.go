package hub

import (
	"context"
	"sync"
	"time"
)

// Large batches wait for each other, and for the streams to follow: so a few publishers do not
// delay the messages of all others. A batch of up to pacedFrom messages does not wait.
const (
	pacedFrom = 256
	pacedMost = 8192                   // messages of large batches that are under way at a time, unless it is one batch
	paceTime  = 500 * time.Millisecond // the most that a batch waits for the streams
	paceLook  = time.Millisecond
)

// A pace says how many messages of large batches are under way. Its methods may be called
// concurrently.
type pace struct {
	mu       sync.Mutex
	underWay int
	waiting  []*paced // the longest first
}

// A paced batch waits for its turn.
type paced struct {
	n    int
	turn chan struct{}
}

// begin waits for the turn of n messages. The caller calls end, unless ctx ends before.
func (p *pace) begin(ctx context.Context, n int) error {
	p.mu.Lock()
	if len(p.waiting) == 0 && p.fits(n) {
		p.underWay += n
		p.mu.Unlock()
		return nil
	}
	b := &paced{n, make(chan struct{})}
	p.waiting = append(p.waiting, b)
	p.mu.Unlock()
	select {
	case <-b.turn:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-b.turn: // meanwhile
		return nil
	default:
	}
	for i, other := range p.waiting {
		if other == b {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			break
		}
	}
	p.admit() // one that it was in the way of
	return ctx.Err()
}

func (p *pace) end(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.underWay -= n
	p.admit()
}

// admit gives turns to those that wait. Callers hold mu.
func (p *pace) admit() {
	for len(p.waiting) > 0 && p.fits(p.waiting[0].n) {
		p.underWay += p.waiting[0].n
		close(p.waiting[0].turn)
		p.waiting = p.waiting[1:]
	}
}

func (p *pace) fits(n int) bool { return p.underWay == 0 || p.underWay+n <= pacedMost }

// pace has a large batch wait for its turn, and for the streams of this hub if they are far behind.
func (h *Hub) pace(ctx context.Context, n int) (end func(), err error) {
	if n <= pacedFrom {
		return func() {}, nil
	}
	if err := h.paced.begin(ctx, n); err != nil {
		return nil, err
	}
	for until := time.Now().Add(paceTime); h.behind() > pacedMost/2 && ctx.Err() == nil && time.Now().Before(until); {
		time.Sleep(paceLook)
	}
	return func() { h.paced.end(n) }, nil
}

// behind returns how many messages that were acknowledged some stream has not been handed.
func (h *Hub) behind() int {
	v, last := h.window.Head()
	return int(last-v.Last()) + h.streams.Behind()
}
