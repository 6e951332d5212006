package fanout

import (
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A Group has the shards of one source. Its methods may be called concurrently.
type Group struct {
	shards []*Shard
	next   atomic.Uint32
	room   int // streams that there may be
}

// New returns a group, which has to be closed.
func New(opts Options) (*Group, error) {
	n := opts.Shards
	if n == 0 {
		n = max(1, runtime.GOMAXPROCS(0)/2)
	}
	g := &Group{room: room()}
	for range n {
		s, err := newShard(opts)
		if err != nil {
			return nil, errors.Join(err, g.Close())
		}
		g.shards = append(g.shards, s)
	}
	return g, nil
}

// reserve is how many descriptors are left to everything that is not a stream, so
// that there are some to say no with.
const reserve = 256

// room returns how many streams there may be, by the limit of open files.
func room() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return int(^uint(0) >> 1)
	}
	most := int(min(limit.Cur, 1<<30))
	return most - min(reserve, most/4)
}

// Take returns the shard that the next stream goes to, with a place for it, which is
// given back by [Shard.Yield] or the stream's end. It returns nil when the process
// has no descriptor for one more.
func (g *Group) Take() *Shard {
	if g.Len() >= g.room {
		return nil
	}
	s := g.shards[int(g.next.Add(1)-1)%len(g.shards)]
	s.places.Add(1)
	return s
}

// Len returns how many places are taken.
func (g *Group) Len() (n int) {
	for _, s := range g.shards {
		n += int(s.places.Load())
	}
	return n
}

// Yield gives a place back in which no stream was opened.
func (s *Shard) Yield() { s.places.Add(-1) }

// Shards returns all shards.
func (g *Group) Shards() []*Shard { return g.shards }

// Drain has each stream end when it has what it is owed. It does not wait for that.
// No more may be opened.
func (g *Group) Drain() {
	for _, s := range g.shards {
		s.Do(s.drain)
	}
}

// Drained returns when no stream is left after Drain, or when stop is received from.
func (g *Group) Drained(stop <-chan time.Time) {
	for _, s := range g.shards {
		select {
		case <-s.empty:
		case <-stop:
			return
		}
	}
}

// Close cuts what streams there are, and returns when nothing of the group is left.
// Closing again does nothing.
func (g *Group) Close() error {
	var errs []error
	for _, s := range g.shards {
		s.Do(s.close)
		<-s.done
		if err := s.ep.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
		<-s.watched
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
