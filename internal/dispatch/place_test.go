package dispatch

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/delivery"
	"example.com/tidings/internal/window"
	"example.com/tidings/topics"
)

// The shard places a stream itself where that is a bounded amount of work, and otherwise
// takes what a catchUp has found. Both have the same frames.
func TestPlacingIsBounded(t *testing.T) {
	log := eventlog.NewMemory(nil)
	for i := range 1000 {
		log.Append(t.Context(), []eventlog.Message{{Topic: fmt.Sprintf("a.%d", i%5), Data: "x"}})
	}
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	w, err := window.New(t.Context(), log, window.Options{MaxEntries: 8192, MaxBytes: 1 << 20, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(log, w, Options{Logger: logger, Budgets: budget.New(budget.DefaultBytes), SocketGone: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	w.Follow(d)
	defer w.Close()
	defer d.Close(0)
	many := []string{"a.3"}
	for i := range 99 {
		many = append(many, fmt.Sprint("b.", i))
	}
	for name, tt := range map[string]struct {
		patterns []string
		after    uint64
		direct   bool
	}{
		"near":             {[]string{"a.3"}, 900, true},
		"near, 100":        {many, 998, true},
		"not so near, 100": {many, 900, false},
		"far":              {[]string{"a.3"}, 10, false},
		"far, 100":         {many, 10, false},
	} {
		task := d.NewTask(delivery.Iterator, nil)
		done := make(chan struct{})
		task.Shard().Do(func() {
			defer close(done)
			f := task.Shard().Feed().(*feed)
			booking := newBooking(filterKey(topics.MustFilters(tt.patterns...)))
			set := f.setOf(booking)
			slot, ok := f.shard.OpenTask(task, set, 0, replayTag)
			if !ok {
				t.Error("the shard opens no stream")
				return
			}
			defer f.shard.Break(slot, nil)
			c := &catchUp{Cursor: &Cursor{dispatcher: d, booking: booking, filters: booking.filters, era: f.era, pos: tt.after}, ctx: context.Background()}
			c.place()
			through, frames := c.placed.upTo(tt.after, 990) // as if the set had what comes later
			if direct := f.settle(slot, tt.after, tt.after, nil); direct != tt.direct {
				t.Errorf("%s: the shard places it: %v", name, direct)
			}
			if tt.direct {
				return
			}
			var want []delivery.Frame
			for _, e := range w.Load().From(tt.after + 1) {
				if e.Topic == "a.3" && e.Seq <= 990 {
					want = append(want, e)
				}
			}
			if through != 990 || !slices.Equal(frames, want) {
				t.Errorf("%s: %d frames up to %d are found, want %d", name, len(frames), through, len(want))
			}
			if !f.settle(slot, tt.after, tt.after, &c.placed) || set.From() != tt.after || f.shard.Owed(slot) != 200-tt.after/5 {
				t.Errorf("%s: with what was found, the stream is owed %d frames", name, f.shard.Owed(slot))
			}
		})
		<-done
	}
}
