package hub

import (
	"context"
	"iter"
	"sync/atomic"

	"example.com/tidings/sse"
)

// Normalize is normalize.
func Normalize(filters []Filter) []Filter { return normalize(filters) }

// Resolve resolves a position in a log with the given epochs.
func Resolve(epochs []Epoch, p Position) (after uint64, reason string) {
	return timeline(epochs).resolve(p)
}

// PositionAt names the position after a record in a log with the given epochs.
func PositionAt(epochs []Epoch, seq uint64) Position { return timeline(epochs).position(seq) }

// An Index is an index of filter sets.
type Index struct {
	x       index[*cursor]
	cursors map[int]*cursor
}

// Add adds a set of filters under a number that is not in use.
func (x *Index) Add(n int, filters []Filter) {
	if x.cursors == nil {
		x.cursors = map[int]*cursor{}
	}
	x.cursors[n] = &cursor{filters: filters}
	x.x.add(x.cursors[n], filters)
}

// Remove removes a set.
func (x *Index) Remove(n int) {
	x.x.remove(x.cursors[n], x.cursors[n].filters)
	delete(x.cursors, n)
}

// Match returns the numbers of the sets of which a filter matches.
func (x *Index) Match(topic string) map[int]bool {
	found := map[int]bool{}
	x.x.match(topic, func(c *cursor) {
		for n := range x.cursors {
			if x.cursors[n] == c {
				found[n] = true
			}
		}
	})
	return found
}

// Empty reports whether nothing is left in the index.
func (x *Index) Empty() bool { return x.x.root.empty() }

// Head returns the sequence number of the newest message that the hub has seen.
func (h *Hub) Head() uint64 { return h.view.load().last() }

// InWindow returns how many messages the hub holds in memory.
func (h *Hub) InWindow() int { return len(h.view.load().records) }

// Cursors returns how many subscriptions run, and how many have a place.
func (h *Hub) Cursors() (running, places int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.cursors), h.subscribers
}

// Events returns what ServeEvents sends.
func (h *Hub) Events(ctx context.Context, sub Subscription) (iter.Seq2[sse.Event, error], error) {
	c, place, err := h.open(ctx, sub)
	if err != nil {
		return nil, err
	}
	place.watch(ctx)
	return h.events(ctx, c, sub, new(atomic.Bool)), nil
}

// Era returns how often the hub has read the log anew, counted from 1.
func (h *Hub) Era() int { return h.view.load().era() }

// Drained reports whether all that was published before Drain is in the window.
func (h *Hub) Drained() bool { return h.isDrained() }
