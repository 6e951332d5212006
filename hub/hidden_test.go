package hub_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// otherFilters match no message of these tests. With so many the place of a stream in the window is
// looked for beside its shard.
func otherFilters() (patterns []string) {
	for i := range 90 {
		patterns = append(patterns, fmt.Sprint("other.", i))
	}
	return patterns
}

// No subscriber, history or list has what the hub keeps in the log for itself, wherever it comes
// from, and none of that counts.
func TestRevocationsAreHidden(t *testing.T) {
	const messages = 60
	for _, window := range []int{2, 8192} {
		for name, patterns := range map[string][]string{
			"everything": {"**"}, "stars": {"*", "*.*"}, "one star": {"a", "*.revoked"}, "many": append(otherFilters(), "a", "*.revoked"),
		} {
			t.Run(fmt.Sprint(name, ", ", window), func(t *testing.T) {
				h := newHub(t, eventlog.NewMemory(nil), &hub.Options{Window: window})
				filters := topics.MustFilters(patterns...)
				live := subscribe(t, h, hub.Subscription{Filters: filters})
				for i := range messages {
					for j := range i % 3 {
						revoke(t, h, fmt.Sprintf("jwt:%d-%d", i, j))
					}
					publish(t, h, fmt.Sprint("a:", i))
				}
				revoke(t, h, "jwt:last")
				for from, first := range map[hub.From]int{
					hub.FromStart(): 0, hub.FromLast(): messages - 1, hub.FromCount(math.MaxUint16): 0,
					hub.FromCount(1): messages - 1, hub.FromCount(5): messages - 5, hub.FromCount(messages): 0, hub.FromCount(messages - 1): 1,
					hub.FromTime(time.Unix(0, 0)): 0,
				} {
					subscribe(t, h, hub.Subscription{Filters: filters, From: from}).want(t, numbers(first, messages)...)
				}
				live.want(t, numbers(0, messages)...)
				page, err := h.History(t.Context(), filters, eventlog.Position{}, 1000)
				if err != nil || len(page.Events) != messages || page.Gap != nil {
					t.Errorf("%d events, %v, %v", len(page.Events), page.Gap, err)
				}
				for limit := range 3 {
					if list, err := h.Topics(t.Context(), topics.MustFilters("**")[0], "", limit); err != nil || len(list) != min(limit, 1) {
						t.Errorf("%+v, %v", list, err)
					}
				}
			})
		}
	}
}

// A burst of the hub's own records hides no messages from whoever wants the newest few.
func TestNewestBeforeManyRevocations(t *testing.T) {
	log := eventlog.NewMemory(nil)
	h := newHub(t, log, nil)
	publish(t, h, numbered("a", "", 10)...)
	var own []eventlog.Message
	for i := range 3000 {
		own = append(own, eventlog.Message{Topic: "tidings.revoked", Data: fmt.Sprintf(`{"subject":"jwt:%d"}`, i)})
	}
	log.Append(t.Context(), own)
	publish(t, h, "a:10")
	log.Append(t.Context(), own)
	for _, n := range []int{1, 2, 5, 11, 12} {
		first := max(0, 11-n)
		subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("**"), From: hub.FromCount(n)}).want(t, numbers(first, 11)...)
	}
}

// The number of messages that a slow subscriber misses does not count the hub's own records, and
// where it misses nothing else there is no gap.
func TestMissedWithoutRevocations(t *testing.T) {
	const n = 300
	for name, tt := range map[string]struct {
		lag      hub.Lag
		maxBytes int
		own      bool // whether there are only the hub's own
	}{"skip": {hub.LagSkip, 0, false}, "skip nothing": {hub.LagSkip, 0, true}, "what has expired": {hub.LagReplay, 16 << 10, false}} {
		own := tt.own
		h := newHub(t, eventlog.NewMemory(&eventlog.MemoryOptions{MaxBytes: tt.maxBytes}), &hub.Options{Window: 8})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		events, err := h.Subscribe(ctx, hub.Subscription{Filters: topics.MustFilters("**"), Lag: tt.lag})
		if err != nil {
			t.Fatal(err)
		}
		publish(t, h, "a:first")
		var missed, got uint64
		want, last := uint64(n), ""
		if own {
			want = 0
		}
		for ev, err := range events {
			if gap, ok := errors.AsType[*sse.GapError](err); ok {
				if missed += gap.Missed; gap.Next == last { // the last one is among those that were missed
					want++
					cancel()
				}
				continue
			}
			switch ev.Data {
			case "first":
				for i := range n {
					revoke(t, h, fmt.Sprint("jwt:", i))
					if !own {
						publish(t, h, fmt.Sprint("a:", i))
					}
				}
				last = publish(t, h, "a:last")[0]
				continue
			case "last":
				cancel()
			default:
				got++
			}
			if ev.Topic != "a" {
				t.Errorf("%+v, %v", ev, err)
			}
		}
		if missed+got != want || !own && missed == 0 {
			t.Errorf("%s: %d messages and %d missed, of %d", name, got, missed, want)
		}
	}
}

func revoke(t *testing.T, h *hub.Hub, subject string) {
	t.Helper()
	if err := h.Revoke(t.Context(), subject, time.Now()); err != nil {
		t.Fatal(err)
	}
}

func numbers(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprint("a:", i))
	}
	return all
}
