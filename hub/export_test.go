package hub

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"time"

	"example.com/tidings/internal/delivery"
	"example.com/tidings/internal/dispatch"
	"example.com/tidings/internal/window"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// Head returns the sequence number of the newest message that the hub has seen.
func (h *Hub) Head() uint64 { return h.window.Load().Last() }

// InWindow returns how many messages the hub holds in memory.
func (h *Hub) InWindow() int { return h.window.Load().Len() }

// Streams returns how many streams are open, and how many subscriptions have a seat.
func (h *Hub) Streams() (open, seats int) {
	for _, shard := range h.streams.Stats() {
		open += shard.Streams()
	}
	return open, int(h.subscribers.Load())
}

// Wait is what keeps an answer of ServeUnavailable open.
func (h *Hub) Wait(ctx context.Context) { h.wait(ctx) }

// HoldShards has the shards do nothing until release is called.
func (h *Hub) HoldShards() (release func()) {
	held := make(chan struct{})
	for _, shard := range h.streams.Shards() {
		shard.Do(func() { <-held })
	}
	return func() { close(held) }
}

// Locked calls f while the locks of the hub and its window are held.
func (h *Hub) Locked(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.window.Freeze(f)
}

// Texts returns what ServeEvents writes through net/http.
func (h *Hub) Texts(ctx context.Context, sub Subscription) (iter.Seq2[[]byte, error], error) {
	r := (&http.Request{URL: new(url.URL)}).WithContext(ctx)
	s, err := h.begin(r, sub)
	if err != nil {
		return nil, err
	}
	return s.newOutput(nil, r).texts, nil
}

// Iterate returns what Subscribe does, as ServeEvents would send it.
func (h *Hub) Iterate(ctx context.Context, sub Subscription) (iter.Seq2[sse.Event, error], error) {
	events, c, err := h.subscribe(ctx, sub)
	if err != nil {
		return nil, err
	}
	open := c.OpenEvent(sub.Filters, sub.Until)
	return func(yield func(sse.Event, error) bool) {
		if !yield(open, nil) {
			return
		}
		for ev, err := range events {
			out := sse.Event{ID: ev.ID.String(), Type: ev.Type, Data: ev.Data}
			if gap, ok := errors.AsType[*sse.GapError](err); ok {
				out, err = window.GapEvent(gap), nil
			} else if err == nil && sub.Format == FormatEnvelope && ev.Topic != "" {
				out = sse.Event{ID: ev.ID.String(), Data: window.JSON(ev)}
			} else if out.Type == "message" && out.Data != "" {
				out.Type = ""
			}
			if !yield(out, err) {
				return
			}
		}
	}, nil
}

// Ending has a subscription end at a time, for one of the reasons of an [EndError].
func (s Subscription) Ending(at time.Time, reason string) Subscription {
	for r := delivery.Stopping; ; r++ {
		if r.String() == reason {
			s.ending = &dispatch.End{Until: at, Reason: r}
			return s
		}
	}
}

// Era returns how often the hub has read the log anew, counted from 1.
func (h *Hub) Era() int { return h.window.Load().Era() }

// Drained reports whether all that was published before Drain is in the window.
func (h *Hub) Drained() bool {
	select {
	case <-h.drained:
		return true
	default:
		return false
	}
}

// Block stops the goroutines that deliver, until release is called.
func (h *Hub) Block() (release func()) {
	c := make(chan struct{})
	for _, s := range h.streams.Shards() {
		blocked := make(chan struct{})
		s.Do(func() {
			close(blocked)
			<-c
		})
		<-blocked
	}
	return func() { close(c) }
}

// ReadRevoked reads the revocations again, as when the log was opened anew.
func (h *Hub) ReadRevoked(ctx context.Context) error {
	h.renewed()
	for h.renewing.Load() {
		time.Sleep(time.Millisecond)
	}
	h.keeping.Lock() // it has read them
	defer h.keeping.Unlock()
	return h.streams.Settle(ctx)
}

// CountOf returns how many records the log has of a topic.
func (h *Hub) CountOf(ctx context.Context, topic topics.Filter) (n, through uint64, err error) {
	return h.log.Count(ctx, []topics.Filter{topic}, 0)
}

// EndsAt returns when a stream ends.
func (s Subscription) EndsAt() time.Time { return s.end().Until }
