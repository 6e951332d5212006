// Package budget counts what the clients of a hub cost: the bytes that the hub holds for them,
// and the expensive reads of the log that it does for them. Each budget bounds one kind of cost
// for all clients together, and what one connection may have of it.
package budget

import (
	"context"
	"errors"
	"sync/atomic"

	"example.com/tidings/hub/stats"
	"example.com/tidings/internal/yield"
)

// DefaultBytes is how many bytes all byte budgets of a hub have together by default.
const DefaultBytes = 96 << 20

// Budgets are those of one hub.
type Budgets struct {
	// CatchUp has the encoded messages that were read from the log for a stream, until its
	// client has taken them.
	CatchUp Bytes

	// Pinned has the encoded messages that a client has taken in part, or has not begun to
	// take, and that nothing else holds.
	Pinned Bytes

	// LargeBodies has request bodies above [SmallBody], as far as they have arrived.
	LargeBodies Bytes

	// SmallBodies has those up to SmallBody. Large ones take nothing of it.
	SmallBodies Bytes

	// Answers has the parts of histories, topic lists and single messages that are made
	// and not yet sent.
	Answers Bytes

	// Filters has the topic filters of streams, with their part of the index.
	Filters Bytes

	// IndexNodes has the tokens of all filters of streams, each distinct filter of a shard
	// counted once. It counts these, not bytes.
	IndexNodes Bytes

	// Requests has what net/http keeps of a request while its stream goes on.
	Requests Bytes

	// Reads bounds the expensive reads of the log, and the making of large answers. They have
	// half of the processors, so that messages find one.
	Reads Turns

	// Bodies has places for those who read long bodies of requests, and their JSON. The others
	// wait, and none is refused. They have half of the processors, too. In a process that shares
	// one lane, the index of its log has places here, too.
	Bodies *yield.Lane
}

// SmallBody is the size of the largest request body that counts as a small one.
const SmallBody = 64 << 10

// How many nodes the filters of all streams have in the index, and those of one stream. The
// latter is what hub.MaxFilters filters of topics.MaxTokens tokens need.
const (
	indexNodes       = 1_000_000
	indexNodesStream = 1_600
)

// New returns budgets with so many bytes together.
func New(total int) *Budgets {
	part := func(of96 int) int64 { return int64(total) / 96 * int64(of96) }
	b := &Budgets{}
	b.CatchUp.init("catch-up", part(24), 4<<20)
	b.Pinned.init("pinned", part(20), 32<<20)
	b.LargeBodies.init("large-bodies", part(24), part(24))
	b.SmallBodies.init("small-bodies", part(8), SmallBody)
	b.Answers.init("answers", part(8), 1<<20)
	b.Filters.init("filters", part(8), 1<<20)
	b.IndexNodes.init("index-nodes", indexNodes, indexNodesStream)
	b.Requests.init("requests", part(4), 1<<20)
	b.Reads.init("reads", yield.Half(), 64)
	b.Bodies = yield.Shared()
	return b
}

// Stats returns the figures of each budget.
func (b *Budgets) Stats() []stats.Budget {
	var all []stats.Budget
	for _, x := range []*Bytes{&b.CatchUp, &b.Pinned, &b.LargeBodies, &b.SmallBodies, &b.Answers, &b.Filters, &b.IndexNodes, &b.Requests} {
		all = append(all, stats.Budget{Name: x.name, Used: x.used.Load(), Limit: x.limit, Refused: x.refused.Load()})
	}
	r := &b.Reads
	return append(all,
		stats.Budget{Name: r.name, Used: int64(len(r.places)), Limit: int64(cap(r.places)), Refused: r.refused.Load()},
		stats.Budget{Name: "long-work", Used: int64(b.Bodies.Used()), Limit: int64(b.Bodies.Limit())})
}

// Of returns the budgets of a [*hub.Hub], for the packages of this module that are built on
// it. Package hub sets it.
var Of func(hub any) *Budgets

// A Bytes is a budget of bytes. Its methods may be called concurrently.
type Bytes struct {
	name         string
	limit, share int64
	used         atomic.Int64
	refused      atomic.Uint64
}

func (b *Bytes) init(name string, limit, share int64) {
	b.name, b.limit, b.share = name, limit, min(limit, share)
}

// Take takes n bytes of the budget, or none if it has fewer left. Then it counts a refusal.
func (b *Bytes) Take(n int) bool {
	if b.used.Add(int64(n)) > b.limit {
		b.used.Add(-int64(n))
		b.refused.Add(1)
		return false
	}
	return true
}

// Add takes n bytes that are held already, even if that is more than the budget has left. The
// caller sees to it that some are given back soon.
func (b *Bytes) Add(n int) { b.used.Add(int64(n)) }

// Give gives n bytes back. A negative n takes bytes, as Add.
func (b *Bytes) Give(n int) { b.used.Add(-int64(n)) }

// Used returns how many bytes are taken.
func (b *Bytes) Used() int { return int(b.used.Load()) }

// Limit returns how many bytes the budget has, Share how many of them one connection may take.
func (b *Bytes) Limit() int { return int(b.limit) }
func (b *Bytes) Share() int { return int(b.share) }

// Refuse counts a refusal that the caller has found out itself.
func (b *Bytes) Refuse() { b.refused.Add(1) }

// A Claim is what one connection has of a budget. One goroutine uses it at a time.
type Claim struct {
	of *Bytes
	n  int
}

// Shrink gives all but n bytes back, if it has more.
func (c *Claim) Shrink(n int) {
	if c.n > n {
		c.of.Give(c.n - n)
		c.n = n
	}
}

// Claim returns a claim without bytes.
func (b *Bytes) Claim() Claim { return Claim{of: b} }

// Grow takes n bytes more. It returns false, and takes nothing, if the connection would have
// more than its share or the budget has fewer left.
func (c *Claim) Grow(n int) bool {
	if int64(c.n+n) > c.of.share {
		c.of.refused.Add(1)
		return false
	}
	if !c.of.Take(n) {
		return false
	}
	c.n += n
	return true
}

// Release gives everything back. Releasing again does nothing.
func (c *Claim) Release() {
	c.of.Give(c.n)
	c.n = 0
}

// ErrBusy means that so many wait for a turn that another one is refused.
var ErrBusy = errors.New("hub: too many reads of the log wait for their turn")

// Turns bounds how many do something at a time, and how many wait for that. Its methods may
// be called concurrently.
type Turns struct {
	name    string
	places  chan struct{}
	most    int64 // may wait
	waiting atomic.Int64
	refused atomic.Uint64
}

func (t *Turns) init(name string, atOnce, waiting int) {
	t.name, t.places, t.most = name, make(chan struct{}, atOnce), int64(waiting)
}

// continues is the key of what Continue adds to a context.
type continues struct{}

// Continue returns a context under which Begin waits however many wait already. It is for the
// turns that follow the first one of something that cannot be refused any more. What bounds
// their number is another budget.
func Continue(ctx context.Context) context.Context {
	return context.WithValue(ctx, continues{}, true)
}

// Begin waits for a turn, in no order. It returns [ErrBusy] if too many wait, and ctx's error if
// ctx ends first. The caller calls end once.
func (t *Turns) Begin(ctx context.Context) (end func(), err error) {
	end = func() { <-t.places }
	select {
	case t.places <- struct{}{}:
		return end, nil
	default:
	}
	if t.waiting.Add(1) > t.most && ctx.Value(continues{}) == nil {
		t.waiting.Add(-1)
		t.refused.Add(1)
		return nil, ErrBusy
	}
	defer t.waiting.Add(-1)
	select {
	case t.places <- struct{}{}:
		return end, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
