package hub

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"time"

	"example.com/tidings/internal/delivery"
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

// Streams returns how many streams are open, and how many subscriptions have a place.
func (h *Hub) Streams() (open, places int) {
	for _, shard := range h.engine.group.Stats() {
		open += shard.Streams()
	}
	return open, int(h.subscribers.Load())
}

// Locked calls f while the hub's lock is held.
func (h *Hub) Locked(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

// Texts returns what ServeEvents writes through net/http.
func (h *Hub) Texts(ctx context.Context, sub Subscription) (iter.Seq2[[]byte, error], error) {
	c, place, err := h.open(ctx, sub)
	if err != nil {
		return nil, err
	}
	return h.newOutput(nil, (&http.Request{}).WithContext(ctx), c, place, sub).texts, nil
}

// Iterate returns what Subscribe does, as ServeEvents would send it.
func (h *Hub) Iterate(ctx context.Context, sub Subscription) (iter.Seq2[sse.Event, error], error) {
	events, c, err := h.subscribe(ctx, sub)
	if err != nil {
		return nil, err
	}
	open := h.openEvent(c, sub)
	return func(yield func(sse.Event, error) bool) {
		if !yield(open, nil) {
			return
		}
		for ev, err := range events {
			out := sse.Event{ID: ev.ID, Type: ev.Type, Data: ev.Data}
			if gap, ok := errors.AsType[*sse.GapError](err); ok {
				out, err = gapEvent(gap), nil
			} else if err == nil && sub.Format == FormatEnvelope {
				out = sse.Event{ID: ev.ID, Data: toJSON(ev)}
			} else if out.Type == "message" && out.Data != "" {
				out.Type = ""
			}
			if !yield(out, err) {
				return
			}
		}
	}, nil
}

// Until has a subscription end at a time, with an event before the end if it has a type,
// cleanly or not.
func (s Subscription) Until(at time.Time, last sse.Event, clean bool) Subscription {
	s.conclusion = &conclusion{at, delivery.Ending{Clean: clean}}
	if last.Type != "" {
		s.conclusion.ending.Last = &eventFrame{chunk: chunk(last)}
	}
	return s
}

// Era returns how often the hub has read the log anew, counted from 1.
func (h *Hub) Era() int { return h.view.load().era() }

// Drained reports whether all that was published before Drain is in the window.
func (h *Hub) Drained() bool { return h.isDrained() }
