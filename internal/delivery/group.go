package delivery

import (
	"errors"
	"math"
	"runtime"
	"sync/atomic"
	"time"
)

// A Group holds the shards of one hub. Its methods may be called concurrently.
type Group struct {
	shards     []*Shard
	next       atomic.Uint32
	maxSockets int // the most streams on sockets
}

// New returns a group. The caller must close it.
func New(opts Options) (*Group, error) {
	n := opts.Shards
	if n == 0 {
		n = max(1, runtime.GOMAXPROCS(0)/2)
	}
	g := &Group{maxSockets: math.MaxInt}
	if opts.Sockets {
		g.maxSockets = socketLimit()
	}
	for range n {
		s, err := newShard(opts)
		if err != nil {
			return nil, errors.Join(err, g.Close())
		}
		g.shards = append(g.shards, s)
	}
	return g, nil
}

// pick returns the shard for the next stream.
func (g *Group) pick() *Shard { return g.shards[(g.next.Add(1)-1)%uint32(len(g.shards))] }

// Take reserves a descriptor for the next stream on a socket, and returns the stream's shard.
// [Shard.Yield] or the end of the stream releases the reservation. Take returns nil when the
// process has no descriptor left.
func (g *Group) Take() *Shard {
	if g.Sockets() >= g.maxSockets {
		return nil
	}
	s := g.pick()
	s.reserved.Add(1)
	return s
}

// Sockets returns how many descriptors are reserved.
func (g *Group) Sockets() (n int) {
	for _, s := range g.shards {
		n += int(s.reserved.Load())
	}
	return n
}

// Yield releases a reservation of [Group.Take] without a stream. Any goroutine may call it.
func (s *Shard) Yield() { s.reserved.Add(-1) }

// Shards returns all shards.
func (g *Group) Shards() []*Shard { return g.shards }

// Drain makes each stream end once it has all its frames. Drain does not wait for that.
func (g *Group) Drain() {
	for _, s := range g.shards {
		s.Do(s.drain)
	}
}

// Drained waits, after Drain, until no stream on a socket or a writer is left, or until it
// receives from stop. It does not wait for iterators: an iterator may be slow without
// affecting others.
func (g *Group) Drained(stop <-chan time.Time) {
	for _, s := range g.shards {
		select {
		case <-s.empty:
		case <-stop:
			return
		}
	}
}

// Close cuts all open streams, and waits for the shards' goroutines to end. It does not wait
// for the goroutines of tasks, which end by themselves. Further calls do nothing.
func (g *Group) Close() error {
	var errs []error
	for _, s := range g.shards {
		s.close()
		<-s.done
		errs = append(errs, s.sockets.close())
	}
	return errors.Join(errs...)
}

// Stats returns the figures of each shard. It waits for each shard's goroutine to answer.
func (g *Group) Stats() []Stats {
	all := make([]Stats, len(g.shards))
	for i, s := range g.shards {
		now := make(chan Stats, 1)
		if s.Do(func() { now <- s.stats }) {
			all[i] = <-now
		} else {
			<-s.done
			all[i] = s.stats
		}
	}
	return all
}
