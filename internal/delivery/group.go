package delivery

import (
	"errors"
	"math"
	"runtime"
	"sync/atomic"
	"time"
)

// A Group has the shards of one source. Its methods may be called concurrently.
type Group struct {
	shards []*Shard
	next   atomic.Uint32
	room   int // sockets that there may be
}

// New returns a group, which has to be closed.
func New(opts Options) (*Group, error) {
	n := opts.Shards
	if n == 0 {
		n = max(1, runtime.GOMAXPROCS(0)/2)
	}
	g := &Group{room: math.MaxInt}
	if opts.Sockets {
		g.room = socketRoom()
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

// pick returns the shard that the next stream goes to.
func (g *Group) pick() *Shard { return g.shards[(g.next.Add(1)-1)%uint32(len(g.shards))] }

// Take returns the shard that the next stream on a socket goes to, with a place for it.
// [Shard.Yield] or the stream's end gives the place back. It returns nil when the process
// has no descriptor for one more.
func (g *Group) Take() *Shard {
	if g.Sockets() >= g.room {
		return nil
	}
	s := g.pick()
	s.places.Add(1)
	return s
}

// Sockets returns how many places of Take are taken.
func (g *Group) Sockets() (n int) {
	for _, s := range g.shards {
		n += int(s.places.Load())
	}
	return n
}

// Yield gives a place back in which no stream was opened. It is for any goroutine.
func (s *Shard) Yield() { s.places.Add(-1) }

// Shards returns all shards.
func (g *Group) Shards() []*Shard { return g.shards }

// Drain has each stream end when it has what it is owed. It does not wait for that.
func (g *Group) Drain() {
	for _, s := range g.shards {
		s.Do(s.drain)
	}
}

// Drained returns when no stream on a socket or a writer is left after Drain, or when
// stop is received from. It does not wait for iterators: how slow they are is nobody
// else's concern.
func (g *Group) Drained(stop <-chan time.Time) {
	for _, s := range g.shards {
		select {
		case <-s.empty:
		case <-stop:
			return
		}
	}
}

// Close cuts what streams there are, and returns when the shards' goroutines have ended.
// Those of tasks end by themselves. Closing again does nothing.
func (g *Group) Close() error {
	var errs []error
	for _, s := range g.shards {
		s.Do(s.close)
		<-s.done
		errs = append(errs, s.sockets.close())
	}
	return errors.Join(errs...)
}

// Stats returns the figures of each shard, once that has a moment.
func (g *Group) Stats() []Stats {
	all := make([]Stats, len(g.shards))
	for i, s := range g.shards {
		now := make(chan Stats, 1)
		if s.Do(func() { now <- s.now }) {
			all[i] = <-now
		} else {
			<-s.done
			all[i] = s.now
		}
	}
	return all
}
