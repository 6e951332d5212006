package hub_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/topics"
)

func TestHistoryBefore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, eventlog.NewMemory(&eventlog.MemoryOptions{MaxAge: time.Hour}), nil)
		old := publish(t, h, "a:0", "b:0")
		time.Sleep(2 * time.Hour)
		ids := publish(t, h, "a:1", "b:2", "a:3", "b:4", "a:5", "b:6", "b:7")
		none, at := eventlog.Position{}, func(i int) eventlog.Position { return position(t, ids[i]) }
		epoch, last := at(0).Epoch, at(6).Seq
		for _, tt := range []struct {
			rule    string
			filters string
			before  eventlog.Position
			limit   int
			want    string // "gap-reason" first, if there is one
			more    bool
		}{
			{"the newest", "a", none, 10, "a:5 a:3 a:1", false},
			{"a page", "a", none, 2, "a:5 a:3", true},
			{"as many as there are", "a", none, 3, "a:5 a:3 a:1", false},
			{"the next", "a", at(2), 2, "a:1", false},
			{"before another topic's", "a", at(3), 10, "a:3 a:1", false},
			{"before the oldest", "a", at(0), 10, "", false},
			{"a topic without", "z", none, 10, "", false},
			{"several topics", "a b", none, 4, "b:7 b:6 a:5 b:4", true},
			{"a filter", "*", at(4), 2, "b:4 a:3", true},
			{"topics that overlap", "* a **", at(4), 3, "b:4 a:3 b:2", true},
			{"one", "**", none, 1, "b:7", true},
			{"before what has expired", "a", position(t, old[1]), 10, "", false},
			{"before the next position", "a", eventlog.Position{Epoch: epoch, Seq: last + 1}, 1, "a:5", true},
			{"to come", "a", eventlog.Position{Epoch: epoch, Seq: last + 2}, 1, "gap-future a:5", true},
			{"the largest", "a", eventlog.Position{Epoch: epoch, Seq: math.MaxUint64}, 1, "gap-future a:5", true},
			{"before everything", "a", eventlog.Position{Epoch: epoch}, 10, "", false},
			{"of another log", "a", eventlog.Position{Epoch: "000000000000", Seq: 9}, 10, "gap-unknown", false},
			{"a large limit", "a", none, math.MaxInt, "a:5 a:3 a:1", false},
		} {
			page, err := h.HistoryBefore(t.Context(), topics.MustFilters(strings.Fields(tt.filters)...), tt.before, tt.limit)
			var got []string
			if page.Gap != nil {
				got = append(got, "gap-"+page.Gap.Reason)
			}
			for _, ev := range page.Events {
				got = append(got, text(ev, nil))
			}
			if s := strings.Join(got, " "); s != tt.want || page.More != tt.more || err != nil || (page.Next != none) != tt.more || page.Position != at(6) {
				t.Errorf("%s: %q, %+v, %v; want %q, more %v", tt.rule, s, page, err, tt.want, tt.more)
			}
		}
	})
}

// backwards returns the whole history, newest first, in pages of a size.
func backwards(t *testing.T, h *hub.Hub, filters []topics.Filter, limit int) (got []string, pages int) {
	t.Helper()
	var before eventlog.Position
	for more := true; more; pages++ {
		page, err := h.HistoryBefore(t.Context(), filters, before, limit)
		if err != nil || len(page.Events) > limit {
			t.Fatalf("%d events, %v", len(page.Events), err)
		}
		if g := page.Gap; g != nil {
			got = append(got, strings.Join([]string{"gap", g.Reason, g.After, g.Next}, " "))
		}
		for _, ev := range page.Events {
			got = append(got, ev.Topic+":"+ev.Data[:min(8, len(ev.Data))])
		}
		before, more = page.Next, page.More
	}
	return got, pages
}

// Pages together are the history, whatever their size, that of the messages, and what the hub keeps
// for itself between them.
func TestHistoryBeforeInPages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		h := newHub(t, nil, nil)
		var all []string
		for i := range 700 {
			m := fmt.Sprintf("%c:%08d", 'a'+rune(random.IntN(3)), i)
			all = append(all, m)
			if random.IntN(10) == 0 {
				m += strings.Repeat("x", random.IntN(200<<10))
			}
			if publish(t, h, m); random.IntN(5) == 0 {
				revoke(t, h, fmt.Sprint("jwt:", i))
			}
		}
		slices.Reverse(all)
		for _, patterns := range []string{"**", "a", "a b", "c"} {
			filters := topics.MustFilters(strings.Fields(patterns)...)
			var want []string
			for _, m := range all {
				if topics.MatchAny(filters, m[:1]) {
					want = append(want, m)
				}
			}
			for _, limit := range []int{1, 7, 256, 1000} {
				got, pages := backwards(t, h, filters, limit)
				if !slices.Equal(got, want) {
					t.Errorf("%s, limit %d: %d events of %d: %.300q", patterns, limit, len(got), len(want), got)
				}
				if most := 3*len(want)/limit + 2; limit < 10 && pages > most {
					t.Errorf("%s, limit %d: %d pages, want up to %d", patterns, limit, pages, most)
				}
			}
		}
	})
}

// What the hub keeps for itself does not fill a page.
func TestHistoryBeforeManyRevocations(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		publish(t, h, "a:1", "a:2")
		for i := range 20 {
			revoke(t, h, fmt.Sprint("jwt:", i))
		}
		page, err := h.HistoryBefore(t.Context(), topics.MustFilters("**"), eventlog.Position{}, 1)
		if err != nil || len(page.Events) != 1 || page.Events[0].Data != "2" || !page.More {
			t.Errorf("%+v, %v", page, err)
		}
	})
}

// A gap stands between the two events that it separates, once, in pages of any size.
func TestHistoryBeforeWithGaps(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &lossy{Log: eventlog.NewMemory(nil)}
		h := newHub(t, log, nil)
		ids := publish(t, h, "a:1", "a:2", "a:3", "b:4", "a:5", "a:6", "a:7", "a:8")
		log.lost = []uint64{2, 3, 5, 8}
		synctest.Wait()
		want := []string{"gap lost " + ids[6] + " " + ids[7], "a:7", "a:6", "gap lost " + ids[3] + " " + ids[4], "gap lost " + ids[0] + " " + ids[2], "a:1"}
		for limit := 1; limit < 6; limit++ {
			if got, _ := backwards(t, h, topics.MustFilters("a"), limit); !slices.Equal(got, want) {
				t.Errorf("limit %d: %q, want %q", limit, got, want)
			}
		}
		if n, err := log.Remove(t.Context(), []uint64{6, 7}); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		want = []string{"gap lost " + ids[6] + " " + ids[7], "gap removed " + ids[4] + " " + ids[6], "gap lost " + ids[3] + " " + ids[4], "gap lost " + ids[0] + " " + ids[2], "a:1"}
		if got, _ := backwards(t, h, topics.MustFilters("a"), 2); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// What another program has stored and cannot be sent is a gap, as in a history in order.
func TestHistoryBeforeOfForeignRecords(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, foreignLog{eventlog.NewMemory(nil)}, nil)
		ids := publish(t, h, "a:break", "a:1", "a:break", "a:break", "b:2", "a:3", "a:break")
		want := []string{"gap invalid " + ids[5] + " " + ids[6], "a:3", "gap invalid " + ids[1] + " " + ids[3], "a:1", "gap invalid " + strings.TrimSuffix(ids[0], "1") + "0 " + ids[0]}
		for limit := 1; limit < 6; limit++ {
			if got, _ := backwards(t, h, topics.MustFilters("a"), limit); !slices.Equal(got, want) {
				t.Errorf("limit %d: %q, want %q", limit, got, want)
			}
		}
	})
}

// Where the log has lost its end and used the numbers again, a gap stands, once, in pages of any size.
func TestHistoryBeforeOverCuts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFragileLog()
		h := newHub(t, log, nil)
		old := publish(t, h, "a:1", "a:2", "a:3")
		reopen := func(n int) {
			log.reopen(t, n, cut)
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		reopen(2)
		ids := publish(t, h, "b:4", "a:5")
		at := func(id, n string) string { return id[:strings.IndexByte(id, '-')+1] + n }
		want := []string{"a:5", "gap lost " + old[1] + " " + at(ids[0], "2"), "a:2", "a:1"}
		for limit := 1; limit < 6; limit++ {
			if got, _ := backwards(t, h, topics.MustFilters("a"), limit); !slices.Equal(got, want) {
				t.Errorf("limit %d: %q, want %q", limit, got, want)
			}
		}
		reopen(4) // at the end: who subscribes after the page is told
		if got, _ := backwards(t, h, topics.MustFilters("a"), 1); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		last := publish(t, h, "a:6")
		want = slices.Concat([]string{"a:6", "gap lost " + ids[1] + " " + at(last[0], "4")}, want)
		for limit := 1; limit < 7; limit++ {
			if got, _ := backwards(t, h, topics.MustFilters("a"), limit); !slices.Equal(got, want) {
				t.Errorf("limit %d: %q, want %q", limit, got, want)
			}
		}
	})
}

// A page is one of its time, and Position where its subscriber goes on.
func TestPosition(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		filters := topics.MustFilters("a")
		if p := h.Position(); p.Seq != 0 {
			t.Errorf("of an empty log: %v", p)
		}
		publish(t, h, "a:1")
		at := h.Position()
		if at.Seq != 1 {
			t.Errorf("the position is %v just after message 1 was acknowledged", at)
		}
		publish(t, h, "a:2")
		page, err := h.HistoryBefore(t.Context(), filters, eventlog.Position{}, 1)
		if err != nil || len(page.Events) != 1 {
			t.Fatal(page, err)
		}
		publish(t, h, "a:3", "b:4")
		subscribe(t, h, hub.Subscription{Filters: filters, LastEventID: at.String()}).want(t, "a:2", "a:3")
		subscribe(t, h, hub.Subscription{Filters: filters, LastEventID: page.Position.String()}).want(t, "a:3")
	})
}
