package hub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// deepFilters returns n filters of 16 tokens that match nothing, and one more.
func deepFilters(n int, more string) []topics.Filter {
	var patterns []string
	for i := range n {
		patterns = append(patterns, "*.*.*.*."+strings.Repeat("a.", 11)+fmt.Sprint("q", i))
	}
	return topics.MustFilters(append(patterns, more)...)
}

// A shard that falls far behind drops what waits for it. Its streams read that from the log, and
// miss nothing, or are told.
func TestShardFarBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const messages = 4500 // some more than four windows
		var logged lockedBuffer
		h := newHub(t, nil, &hub.Options{Window: 1100, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		all := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		skips := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), Lag: hub.LagSkip})
		var wg sync.WaitGroup
		first := publish(t, h, "a:first")
		for _, s := range []*subscriber{all, skips} {
			s.want(t, "a:first")
		}
		release := h.Block()
		published := numbered("a", "", messages)
		publish(t, h, published...)
		untilHead(h, messages+1)
		release()
		publish(t, h, "a:last")
		wg.Go(func() { all.want(t, append(published, "a:last")...) })
		next := first[0]
		for { // it skips, and says so, or gets everything
			ev, err, ok := skips.next()
			gap, isGap := errors.AsType[*sse.GapError](err)
			if !ok || err != nil && !isGap {
				t.Fatalf("%v, %v", err, ok)
			}
			if isGap {
				if gap.After != next {
					t.Errorf("a gap after %s, want %s", gap.After, next)
				}
				next = gap.Next
				continue
			}
			if p := position(t, next); ev.ID.Seq != p.Seq+1 {
				t.Errorf("after %s comes %s", next, ev.ID)
			}
			if next = ev.ID.String(); ev.Data == "last" {
				break
			}
		}
		wg.Wait()
		if !strings.Contains(logged.String(), "fallen behind") {
			t.Error("nothing was dropped")
		}
	})
}

// A stream whose place is far back in the window, with many filters, is placed while messages are
// published. It gets each once, in order.
func TestStreamFarBackInTheWindow(t *testing.T) {
	h := newHub(t, nil, nil)
	const old, more, streams = 3000, 500, 8
	ids := publish(t, h, numbered("b", "", old)...)
	untilHead(h, old)
	var running sync.WaitGroup
	for i := range streams {
		s := subscribe(t, h, hub.Subscription{Filters: deepFilters(99, "b"), LastEventID: ids[i*100]})
		running.Go(func() {
			for n := i*100 + 1; n < old+more; n++ {
				if ev, err, ok := s.next(); !ok || text(ev, err) != fmt.Sprint("b:", n) {
					t.Errorf("stream %d gets %q, %v; want %d", i, text(ev, err), ok, n)
					return
				}
			}
		})
	}
	for n := range more {
		publish(t, h, fmt.Sprint("b:", old+n))
	}
	running.Wait()
}

// While such a stream is placed, the shard goes on, and a stream that leaves is forgotten.
func TestStreamThatLeavesWhileItIsPlaced(t *testing.T) {
	h := newHub(t, nil, nil)
	ids := publish(t, h, numbered("b", "", 3000)...)
	untilHead(h, 3000)
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		events, err := h.Subscribe(ctx, hub.Subscription{Filters: deepFilters(99, "c"), LastEventID: ids[0]})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range events {
			}
		}()
		cancel()
		<-done
	}
	eventually(t, "all have left", func() bool { open, seats := h.Streams(); return open+seats == 0 })
	if n := indexNodes(h); n != 0 {
		t.Errorf("%d nodes are taken", n)
	}
}

// indexNodes returns how many nodes of the index are taken.
func indexNodes(h *hub.Hub) int64 {
	for _, b := range h.Stats().Budgets {
		if b.Name == "index-nodes" {
			return b.Used
		}
	}
	return -1
}

// The index has room for a million nodes. Beyond, a stream is refused; what ends gives its
// nodes back.
func TestIndexIsFull(t *testing.T) {
	h := newHub(t, eventlog.NewMemory(nil), &hub.Options{ClientBytes: 960 << 20})
	filters := func(i int) (all []topics.Filter) {
		for k := range hub.MaxFilters {
			all = append(all, topics.MustFilters(fmt.Sprintf("%d.%d", i, k)+strings.Repeat(".a", 14))...)
		}
		return all
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const most = 1_000_000 / 1600
	for i := range most {
		if _, err := h.Subscribe(ctx, hub.Subscription{Filters: filters(i)}); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
	}
	if _, err := h.Subscribe(ctx, hub.Subscription{Filters: filters(most)}); !errors.Is(err, hub.ErrUnavailable) {
		t.Errorf("one more: %v", err)
	}
	cancel()
	eventually(t, "the nodes are given back", func() bool { return indexNodes(h) == 0 })
}

// What the filters of streams take is counted, and given back with the last of them.
func TestIndexNodesAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		var all []*subscriber
		for _, patterns := range [][]string{{"a.b", "c.*.d"}, {"c.*.d", "a.b"}, {"a.b", "e"}, {"**"}} {
			s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters(patterns...)})
			go s.next()
			all = append(all, s)
		}
		synctest.Wait()
		// On one shard the filters of all take 6. On several each has its own.
		if n := indexNodes(h); n < 6 || n > 5+5+3 {
			t.Errorf("%d nodes are taken", n)
		}
		publish(t, h, "a.b:", "e:")
		synctest.Wait()
		for _, s := range all {
			s.stop()
		}
		synctest.Wait()
		if n := indexNodes(h); n != 0 {
			t.Errorf("%d nodes stay taken", n)
		}
	})
}

// A stream may begin while a message is appended to many sets. It gets that message, once.
func TestStreamThatBeginsInTheMiddleOfAMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		first := publish(t, h, "a:first")[0]
		shards := len(h.Stats().Shards)
		for i := range 1500 * shards { // more than a turn appends to
			s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a", fmt.Sprintf("u.%d", i))})
			go s.next()
		}
		synctest.Wait()
		release := h.Block()
		publish(t, h, "a:second")
		var running sync.WaitGroup
		for i := range shards {
			s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a", fmt.Sprintf("new.%d", i)), LastEventID: first})
			running.Go(func() { s.want(t, "a:second", "a:third") })
		}
		synctest.Wait() // they wait for the shards
		release()
		synctest.Wait()
		publish(t, h, "a:third")
		running.Wait()
	})
}
