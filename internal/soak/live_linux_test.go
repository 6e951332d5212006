package soak_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/natslog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/natstest"
	"example.com/tidings/topics"
)

// untilLive returns the data of the messages that come before tidings.live.
func untilLive(t *testing.T, h *hub.Hub, sub hub.Subscription) (got []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	sub.Live = true
	events, err := h.Subscribe(ctx, sub)
	if err != nil {
		t.Fatal(err)
	}
	for ev, err := range events {
		switch {
		case err != nil:
			got = append(got, "gap")
		case ev.Type == hub.LiveEventType:
			return got
		default:
			got = append(got, ev.Data)
		}
	}
	t.Fatalf("the stream has ended without tidings.live: %v", context.Cause(ctx))
	return nil
}

// wholeHistory returns the data of all messages, in pages.
func wholeHistory(t *testing.T, limit int, read func(at eventlog.Position, limit int) (hub.Page, error)) (got []string) {
	t.Helper()
	var at eventlog.Position
	for more := true; more; {
		page, err := read(at, limit)
		if err != nil {
			t.Fatal(err)
		}
		if page.Gap != nil {
			got = append(got, "gap")
		}
		for _, ev := range page.Events {
			got = append(got, ev.Data)
		}
		at, more = page.Next, page.More
	}
	return got
}

// On each log, also after it was opened again, the history newest first is the other one backwards,
// and a stream from the oldest message has it before it is live.
func TestHistoryBothWaysOnEachLog(t *testing.T) {
	for name, open := range eachLog(t, 0) {
		t.Run(name, func(t *testing.T) {
			h := hubOn(t, open)
			for round := range 2 {
				var removed []eventlog.Position
				for i := range 300 {
					m := hub.Message{Topic: fmt.Sprintf("%c.%d", 'a'+rune(i%3), i%7), Data: fmt.Sprint(round, ".", i)}
					if i%50 == 0 {
						m.Data += strings.Repeat("x", 100<<10)
					}
					p, err := h.Publish(t.Context(), m)
					if err != nil {
						t.Fatal(err)
					}
					if i%60 == 30 {
						removed = append(removed, p.ID)
						if err := h.Revoke(t.Context(), fmt.Sprint("jwt:", round, i), time.Now()); err != nil {
							t.Fatal(err)
						}
					}
				}
				log, err := open()
				if err != nil && name != "segmentlog" { // which is open once
					t.Fatal(err)
				}
				if err == nil {
					for _, id := range removed {
						if _, err := log.Remove(t.Context(), []uint64{id.Seq}); err != nil {
							t.Fatal(err)
						}
					}
					if name == "natslog" {
						log.Close()
					}
				}
				for _, patterns := range []string{"**", "a.*", "a.* c.**", "b.3", "z"} {
					filters := topics.MustFilters(strings.Fields(patterns)...)
					want := wholeHistory(t, 1000, func(at eventlog.Position, limit int) (hub.Page, error) {
						return h.History(t.Context(), filters, at, limit)
					})
					for _, limit := range []int{3, 256} {
						got := wholeHistory(t, limit, func(at eventlog.Position, limit int) (hub.Page, error) {
							return h.HistoryBefore(t.Context(), filters, at, limit)
						})
						slices.Reverse(got)
						if !slices.Equal(got, want) {
							t.Errorf("%s, limit %d: %d events newest first, %d oldest first: %.40q", patterns, limit, len(got), len(want), got)
						}
					}
					if got := untilLive(t, h, hub.Subscription{Filters: filters, From: hub.FromStart()}); !slices.Equal(got, want) {
						t.Errorf("%s: %d events before the stream is live, of %d", patterns, len(got), len(want))
					}
				}
				if err := h.Close(); err != nil {
					t.Fatal(err)
				}
				h = hubOn(t, open)
				if state := h.Position(); state.Seq < uint64(300*(round+1)) {
					t.Errorf("the position is %v", state)
				}
			}
		})
	}
}

// What one node has acknowledged comes on another node before the stream there is live.
func TestLiveOnAnotherNode(t *testing.T) {
	server := natstest.Start(t)
	open := func() (eventlog.Log, error) {
		return natslog.Connect(t.Context(), &natslog.Options{URL: server.URL, Logger: slog.New(slog.DiscardHandler)})
	}
	here, there := hubOn(t, open), hubOn(t, open)
	for i := range 60 {
		if _, err := here.Publish(t.Context(), hub.Message{Topic: "a", Data: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
		if got := untilLive(t, there, hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromCount(1)}); !slices.Contains(got, fmt.Sprint(i)) {
			t.Fatalf("message %d is acknowledged, and the stream is live after %q", i, got)
		}
	}
}
