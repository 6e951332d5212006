package server

import (
	"cmp"
	"slices"
	"time"
)

// net/http takes up to twenty times the size of a head that has arrived in part, for as long as
// ReadHeaderTimeout, and has no bound for all heads together.
const (
	// sweepEvery is how often the server looks at heads that have arrived in part, while at least
	// leastSweep connections wait for their clients.
	sweepEvery = 50 * time.Millisecond
	leastSweep = 128

	// largeHead is the size from which a part of a head counts.
	largeHead = 4 << 10
)

// A head is a part of a request's head.
type head struct {
	of           *connection
	since        time.Duration // of the connection
	before, read int64         // bytes of the connection
}

func (h *head) size() int64 { return h.read - h.before }

// sweepLater has heads swept. The caller has c.mu.
func (c *connections) sweepLater() {
	if !c.sweeping && c.fresh.n+c.idle.n >= leastSweep {
		c.sweeping = true
		time.AfterFunc(sweepEvery, c.sweep)
	}
}

// sweep closes the connections with the largest parts of heads while all parts together are
// larger than the limit.
func (c *connections) sweep() {
	c.mu.Lock()
	heads := make([]head, 0, c.fresh.n+c.idle.n)
	for _, q := range [...]*queue{&c.fresh, &c.idle} {
		for k := q.root.next; k != &q.root; k = k.next {
			if k.head {
				heads = append(heads, head{of: k, since: k.since, before: k.before})
			}
		}
	}
	c.mu.Unlock()
	var all int64
	for i := range heads {
		h := &heads[i]
		if h.read = readBytes(h.of.conn); h.before < 0 {
			h.before = h.read
		}
		if h.size() >= largeHead {
			all += h.size()
		}
	}
	slices.SortFunc(heads, func(a, b head) int { return cmp.Compare(b.size(), a.size()) })
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range heads {
		switch {
		case !h.of.head || h.of.in == nil || h.of.since != h.since: // it was whole
		case all > c.limits.Heads && h.size() >= largeHead:
			h.of.close()
			c.waited.Add(1)
		default:
			h.of.before = h.before
		}
		all -= h.size()
	}
	c.sweeping = false
	c.sweepLater()
}
