package dispatch

import (
	"sync"
	"sync/atomic"
)

// counts has the numbers of subscribers that were asked for since a stream has last begun or
// ended.
type counts struct {
	changes atomic.Uint64 // streams that have begun or ended

	mu sync.Mutex
	m  map[string]count // by topic
}

// A count is a number of subscribers, after so many changes.
type count struct {
	n       int
	changes uint64
}

const maxCounts = 1024

// Subscribers returns how many streams get the messages of a topic. It asks the shards only if a
// stream has begun or ended since the last time.
func (d *Dispatcher) Subscribers(topic string) int {
	c := &d.counts
	now := count{changes: c.changes.Load()}
	c.mu.Lock()
	last, ok := c.m[topic]
	c.mu.Unlock()
	if ok && last.changes == now.changes {
		return last.n
	}
	for _, f := range d.feeds {
		counted := make(chan int, 1)
		if f.shard.Do(func() { counted <- f.subscribersOf(topic) }) {
			now.n += <-counted
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= maxCounts {
		c.m = map[string]count{}
	}
	c.m[topic] = now
	return now.n
}
