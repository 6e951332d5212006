package hub_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/topics"
)

func benchHub(b *testing.B, opts *hub.Options) *hub.Hub {
	b.Helper()
	if opts == nil {
		opts = &hub.Options{}
	}
	opts.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	h, err := hub.New(b.Context(), eventlog.NewMemory(nil), opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { h.Close() })
	return h
}

// A message from Publish to the last of its subscribers, one at a time, each
// subscriber a goroutine in this process.
func BenchmarkPublishToDelivery(b *testing.B) {
	for _, subscribers := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("subscribers=%d", subscribers), func(b *testing.B) {
			h := benchHub(b, nil)
			ctx, cancel := context.WithCancel(b.Context())
			var delivered, running sync.WaitGroup
			for range subscribers {
				events, err := h.Subscribe(ctx, hub.Subscription{Filters: topics.MustFilters("a.*")})
				if err != nil {
					b.Fatal(err)
				}
				running.Go(func() {
					for range events {
						delivered.Done()
					}
				})
			}
			m := hub.Message{Topic: "a.b", Data: strings.Repeat("x", 100)}
			b.ReportAllocs()
			for b.Loop() {
				delivered.Add(subscribers)
				if _, err := h.Publish(ctx, m); err != nil {
					b.Fatal(err)
				}
				delivered.Wait()
			}
			cancel()
			running.Wait()
		})
	}
}

// A message to one of 10,000 topics, each with a subscriber of its own, or to all
// of one: the first costs like one subscriber.
func BenchmarkTopics(b *testing.B) {
	const inboxes = 10_000
	h := benchHub(b, nil)
	ctx, cancel := context.WithCancel(b.Context())
	var delivered, running sync.WaitGroup
	for i := range inboxes {
		events, err := h.Subscribe(ctx, hub.Subscription{Filters: topics.MustFilters(fmt.Sprintf("user.%d.inbox", i))})
		if err != nil {
			b.Fatal(err)
		}
		running.Go(func() {
			for range events {
				delivered.Done()
			}
		})
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		delivered.Add(1)
		i = (i + 7919) % inboxes
		if _, err := h.Publish(ctx, hub.Message{Topic: fmt.Sprintf("user.%d.inbox", i), Data: "x"}); err != nil {
			b.Fatal(err)
		}
		delivered.Wait()
	}
	cancel()
	running.Wait()
}

// All messages, out of the window and out of the log in memory, to one
// subscriber.
func BenchmarkReplay(b *testing.B) {
	for name, window := range map[string]int{"window": 20_000, "log": 1} {
		b.Run(name, func(b *testing.B) {
			h := benchHub(b, &hub.Options{Window: window})
			const messages = 10_000
			for i := range messages {
				if _, err := h.Publish(b.Context(), hub.Message{Topic: "a", Data: fmt.Sprint(i, strings.Repeat("x", 100))}); err != nil {
					b.Fatal(err)
				}
			}
			untilHead(h, messages)
			b.ReportAllocs()
			for b.Loop() {
				texts, err := h.Texts(b.Context(), hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromStart()})
				if err != nil {
					b.Fatal(err)
				}
				got := -1 // tidings.open
				for text, err := range texts {
					if err != nil {
						b.Fatal(err)
					}
					if got += bytes.Count(text, []byte("\n\n")); got == messages {
						break
					}
				}
			}
			b.ReportMetric(float64(b.N*messages)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// untilHead waits until the hub has seen a message.
func untilHead(h *hub.Hub, seq uint64) {
	for h.Head() < seq {
		runtime.Gosched()
	}
}

func BenchmarkFilterMatch(b *testing.B) {
	for filter, topic := range map[string]string{"orders.42.status": "orders.42.status", "orders.*.status": "orders.42.status", "orders.**": "orders.42.status"} {
		b.Run(filter, func(b *testing.B) {
			f, err := topics.ParseFilter(filter)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if !f.Match(topic) {
					b.Fatal("no match")
				}
			}
		})
	}
}
