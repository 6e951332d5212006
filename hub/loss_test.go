package hub_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// A lossy log has lost some of its records since it indexed them.
type lossy struct {
	eventlog.Log
	lost []uint64
}

func (l *lossy) Read(ctx context.Context, q eventlog.Query) (eventlog.Batch, error) {
	through := q.After
	for slices.Contains(l.lost, through+1) && through < q.UpTo {
		through++
	}
	if through > q.After {
		return eventlog.Batch{Hole: through, Reason: sse.GapLost, Through: through}, nil
	}
	for _, seq := range l.lost {
		if seq > q.After {
			q.UpTo = min(q.UpTo, seq-1)
		}
	}
	return l.Log.Read(ctx, q)
}

// A stream that begins with the newest message of each topic is told if one of them is lost.
func TestLastThatIsLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &lossy{Log: eventlog.NewMemory(nil)}
		h := newHub(t, log, nil)
		ids := publish(t, h, "a:1", "b:2", "a:3", "c:4", "d:5")
		log.lost = []uint64{2, 5}
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("**"), From: hub.FromLast()})
		ev, err, _ := s.next()
		gap, ok := errors.AsType[*sse.GapError](err)
		if !ok || *gap != (sse.GapError{Reason: sse.GapLost, After: ids[0], Next: ids[1]}) {
			t.Fatalf("first comes %v, %v", ev, err)
		}
		s.want(t, "a:3", "c:4", "gap lost 0")
		publish(t, h, "b:6")
		s.want(t, "b:6")
	})
}

// By its id, an event that is gone has a reason if the log knows one.
func TestOneEventThatIsGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &lossy{Log: eventlog.NewMemory(&eventlog.MemoryOptions{MaxAge: time.Hour})}
		h := newHub(t, log, nil)
		ids := publish(t, h, "a:expired")
		time.Sleep(2 * time.Hour)
		ids = append(ids, publish(t, h, "a:lost", "a:removed", "a:there")...)
		log.lost = []uint64{2}
		if n, err := log.Remove(t.Context(), []uint64{3}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		for i, want := range []string{sse.GapExpired, sse.GapLost, sse.GapRemoved} {
			_, err := h.Event(t.Context(), "a", position(t, ids[i]))
			gone, ok := errors.AsType[*eventlog.NotFoundError](err)
			if !ok || gone.Reason != want || !errors.Is(err, eventlog.ErrNotFound) {
				t.Errorf("%s: %v", want, err)
			}
		}
		for topic, id := range map[string]string{"b": ids[3], "a": strings.Replace(ids[3], "-4", "-5", 1)} {
			if _, err := h.Event(t.Context(), topic, position(t, id)); err != eventlog.ErrNotFound {
				t.Errorf("%s, %s: %v", topic, id, err)
			}
		}
	})
}

// Each page of the history has one gap, which has exactly the numbers that are gone.
func TestHistoryWithGaps(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &lossy{Log: eventlog.NewMemory(nil)}
		h := newHub(t, log, nil)
		ids := publish(t, h, "a:1", "a:2", "a:3", "b:4", "a:5", "a:6", "a:7")
		log.lost = []uint64{2, 3, 5}
		var got []string
		var after eventlog.Position
		for more := true; more; {
			page, err := h.History(t.Context(), topics.MustFilters("a"), after, 10)
			if err != nil {
				t.Fatal(err)
			}
			if g := page.Gap; g != nil {
				got = append(got, strings.Join([]string{"gap", g.Reason, g.After, g.Next}, " "))
			}
			for _, ev := range page.Events {
				got = append(got, text(ev, nil))
			}
			after, more = page.Next, page.More
		}
		want := []string{"a:1", "gap lost " + ids[0] + " " + ids[2], "gap lost " + ids[3] + " " + ids[4], "a:6", "a:7"}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
