package hub_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/topics"
)

// A walk is what the pages of a history have told.
type walk struct {
	events  []string
	missing map[string]bool // numbers, with the reason
	cuts    map[uint64]bool
}

// walk reads a whole history in pages.
func (l *fragileLog) walk(t *testing.T, limit int, read func(at eventlog.Position, limit int) (hub.Page, error)) walk {
	t.Helper()
	w := walk{missing: map[string]bool{}, cuts: map[uint64]bool{}}
	var at eventlog.Position
	for more, pages := true, 0; more; pages++ {
		page, err := read(at, limit)
		if err != nil || pages > 1000 {
			t.Fatalf("page %d at %v: %v", pages, at, err)
		}
		if g := page.Gap; g != nil {
			after, err := eventlog.ParsePosition(g.After)
			next, err2 := eventlog.ParsePosition(g.Next)
			if err != nil || err2 != nil || after.Seq == next.Seq && after.Epoch == next.Epoch {
				t.Fatalf("the gap %+v", g)
			}
			for seq := after.Seq + 1; seq <= next.Seq; seq++ {
				w.missing[fmt.Sprint(seq, g.Reason)] = true
			}
			from := slices.IndexFunc(l.epochs, func(e eventlog.Epoch) bool { return e.ID == after.Epoch })
			to := slices.IndexFunc(l.epochs, func(e eventlog.Epoch) bool { return e.ID == next.Epoch })
			for _, e := range l.epochs[from+1 : to+1] {
				if e.Cut {
					w.cuts[e.First-1] = true
				}
			}
		}
		for _, ev := range page.Events {
			w.events = append(w.events, ev.ID.String()+" "+ev.Topic+":"+ev.Data)
		}
		at, more = page.Next, page.More
	}
	for at := range w.cuts { // beside other losses they are one with those
		if found, _, ok := l.epochs.NextCut(at); !ok || found != at || at == 0 || w.missing[fmt.Sprint(at, "lost")] || w.missing[fmt.Sprint(at+1, "lost")] {
			delete(w.cuts, at)
		}
	}
	return w
}

// A history newest first has the same events, and tells the same losses, as one in order, whatever
// has happened to the log.
func TestHistoryBothWays(t *testing.T) {
	for range 60 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				fragile := newFragileLog()
				log := &lossy{Log: foreignLog{fragile}}
				h := newHub(t, log, nil)
				for range 1 + random.IntN(8) {
					for range random.IntN(12) {
						data := fmt.Sprint(random.IntN(1000))
						if random.IntN(6) == 0 {
							data = "break"
						}
						publish(t, h, fmt.Sprintf("%c:%s", 'a'+rune(random.IntN(3)), data))
					}
					synctest.Wait()
					last := h.Head()
					for seq := range last {
						if random.IntN(12) == 0 {
							log.lost = append(log.lost, seq+1)
						}
					}
					if random.IntN(2) == 0 {
						n := last - min(last, random.Uint64N(6))
						log.lost = slices.DeleteFunc(log.lost, func(seq uint64) bool { return seq > n })
						fragile.reopen(t, int(n), cut)
						time.Sleep(time.Minute)
						synctest.Wait()
					}
				}
				for _, pattern := range []string{"a", "*"} {
					filters := topics.MustFilters(pattern)
					limit := 1 + random.IntN(7)
					ahead := fragile.walk(t, limit, func(at eventlog.Position, limit int) (hub.Page, error) {
						return h.History(t.Context(), filters, at, limit)
					})
					back := fragile.walk(t, limit, func(at eventlog.Position, limit int) (hub.Page, error) {
						return h.HistoryBefore(t.Context(), filters, at, limit)
					})
					slices.Reverse(back.events)
					if !slices.Equal(ahead.events, back.events) || !maps.Equal(ahead.missing, back.missing) || !maps.Equal(ahead.cuts, back.cuts) {
						t.Errorf("%s, limit %d, epochs %v, lost %v:\nin order     %v\nnewest first %v", pattern, limit, fragile.epochs, log.lost, ahead, back)
					}
				}
			})
		})
	}
}
