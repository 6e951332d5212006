package hub_test

import (
	"bytes"
	"iter"
	"runtime"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/topics"
)

// What is in the window is handed on without an allocation, to any number of
// subscriptions.
func TestDeliveryDoesNotAllocate(t *testing.T) {
	h := newHub(t, nil, nil)
	const runs = 500
	publish(t, h, numbered("orders.1.status", "", 4*runs)...)
	publish(t, h, numbered("other", "", 10)...)
	untilHead(h, 4*runs+10)
	events, err := h.Subscribe(t.Context(), hub.Subscription{Filters: topics.MustFilters("orders.*.status", "x.**"), From: hub.FromStart()})
	if err != nil {
		t.Fatal(err)
	}
	next, stop := iter.Pull2(events)
	defer stop()
	n := testing.AllocsPerRun(runs, func() {
		if ev, err, ok := next(); !ok || err != nil || ev.ID == (eventlog.Position{}) {
			t.Fatalf("%+v, %v, %v", ev, err, ok)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for an event, want none", n)
	}
}

// What is written through net/http is allocated once for many events, in each form once it
// was made for the first.
func TestWritingDoesNotAllocate(t *testing.T) {
	h := newHub(t, nil, nil)
	const messages = 4000
	publish(t, h, numbered("a", "", messages)...)
	untilHead(h, messages)
	for name, format := range map[string]hub.Format{"data": hub.FormatData, "envelope": hub.FormatEnvelope} {
		var before, after runtime.MemStats
		for range 2 { // once for what is allocated once
			texts, err := h.Texts(t.Context(), hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromStart(), Format: format})
			if err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&before)
			got := -1 // tidings.open
			for text, err := range texts {
				if err != nil {
					t.Fatal(err)
				}
				if got += bytes.Count(text, []byte("\n\n")); got == messages {
					break
				}
			}
			runtime.ReadMemStats(&after)
		}
		if n := float64(after.Mallocs-before.Mallocs) / messages; n > 0.1 {
			t.Errorf("%s: %.2f allocations for an event, want none", name, n)
		}
	}
}

// heap returns how many bytes the heap has, once nothing more is given back: goroutines and pools of
// what has ended still hold some for a while.
func heap() int {
	last := 0
	for range 20 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		n := int(m.HeapAlloc)
		if change := n - last; change > -16<<10 && change < 16<<10 {
			return n
		}
		last = n
	}
	return last
}
