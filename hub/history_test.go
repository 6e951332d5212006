package hub_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/topics"
)

func TestHistory(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, eventlog.NewMemory(&eventlog.MemoryOptions{MaxAge: time.Hour}), nil)
		old := publish(t, h, "a:0", "b:0")
		time.Sleep(2 * time.Hour)
		ids := publish(t, h, "a:1", "b:2", "a:3", "b:4", "a:5", "b:6", "b:7")
		position := func(id string) eventlog.Position {
			p, err := eventlog.ParsePosition(id)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		first := position(ids[0])
		for _, tt := range []struct {
			rule   string
			filter string
			after  eventlog.Position
			limit  int
			want   string // "gap reason" first, if there is one
			more   bool
		}{
			{"the oldest", "a", eventlog.Position{}, 10, "a:1 a:3 a:5", false},
			{"a page", "a", eventlog.Position{}, 2, "a:1 a:3", true},
			{"the next", "a", position(ids[2]), 2, "a:5", false},
			{"after another topic's", "a", position(ids[1]), 10, "a:3 a:5", false},
			{"after the newest", "a", position(ids[6]), 10, "", false},
			{"a topic without", "z", eventlog.Position{}, 10, "", false},
			{"a filter", "*", position(ids[3]), 10, "a:5 b:6 b:7", false},
			{"expired", "a", position(old[0]), 10, "gap-expired a:1 a:3 a:5", false},
			{"the last that expired", "a", position(old[1]), 10, "a:1 a:3 a:5", false},
			{"to come", "a", eventlog.Position{Epoch: first.Epoch, Seq: 1000}, 10, "gap-future", false},
			{"of another log", "a", eventlog.Position{Epoch: "000000000000", Seq: 9}, 1, "gap-unknown a:1", true},
		} {
			filters, _ := topics.ParseFilters(tt.filter)
			page, err := h.History(t.Context(), filters, tt.after, tt.limit)
			var got []string
			if page.Gap != nil {
				got = append(got, "gap-"+page.Gap.Reason)
			}
			for _, ev := range page.Events {
				got = append(got, text(ev, nil))
			}
			if s := strings.Join(got, " "); s != tt.want || page.More != tt.more || err != nil {
				t.Errorf("%s: %q, more %v, %v; want %q, more %v", tt.rule, s, page.More, err, tt.want, tt.more)
			}
			// What follows is what a subscription gets that begins there.
			if page.More {
				s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters(tt.filter), LastEventID: page.Next.String()})
				if ev, err, _ := s.next(); strings.Contains(tt.want, text(ev, err)) {
					t.Errorf("%s: then comes %s", tt.rule, text(ev, err))
				}
			}
		}
	})
}

// A page ends where its data is large, and pages together are the history.
func TestHistoryInPages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		large := strings.Repeat("x", 1<<20)
		for i := range 20 {
			publish(t, h, fmt.Sprintf("a:%d%s", i, large), "b:0")
		}
		filters, _ := topics.ParseFilters("a")
		var after eventlog.Position
		n, pages := 0, 0
		for more := true; more; pages++ {
			page, err := h.History(t.Context(), filters, after, 1000)
			if err != nil || page.Gap != nil || len(page.Events) == 0 && page.More || len(page.Events) > 4 {
				t.Fatalf("page %d has %d events, %v", pages, len(page.Events), err)
			}
			for _, ev := range page.Events {
				if !strings.HasPrefix(ev.Data, fmt.Sprint(n)+"x") {
					t.Fatalf("event %d is %.20s", n, ev.Data)
				}
				n++
			}
			after, more = page.Next, page.More
		}
		if n != 20 {
			t.Errorf("%d events in %d pages, want 20", n, pages)
		}
	})
}

func TestOneEvent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, eventlog.NewMemory(&eventlog.MemoryOptions{MaxAge: time.Hour}), nil)
		old := publish(t, h, "a:0")
		time.Sleep(2 * time.Hour)
		p, err := h.Publish(t.Context(), hub.Message{Topic: "a.b", Type: "t", Data: "d"})
		if err != nil {
			t.Fatal(err)
		}
		id := p.ID
		ev, err := h.Event(t.Context(), "a.b", id)
		if want := (hub.Event{ID: p.ID, Topic: "a.b", Type: "t", Data: "d", Time: time.Now().UTC()}); err != nil || ev != want {
			t.Errorf("%+v, %v; want %+v", ev, err, want)
		}
		if b, err := json.Marshal(ev); err != nil || string(b) != `{"id":"`+p.ID.String()+`","topic":"a.b","type":"t","data":"d","time":"2000-01-01T02:00:00Z"}` {
			t.Errorf("its JSON is %s, %v", b, err)
		}
		expired, _ := eventlog.ParsePosition(old[0])
		for rule, at := range map[string]struct {
			topic string
			id    eventlog.Position
		}{
			"another topic":  {"a", id},
			"expired":        {"a", expired},
			"to come":        {"a.b", eventlog.Position{Epoch: id.Epoch, Seq: 3}},
			"the begin":      {"a.b", eventlog.Position{Epoch: id.Epoch, Seq: 0}},
			"another log's":  {"a.b", eventlog.Position{Epoch: "000000000000", Seq: id.Seq}},
			"far from there": {"a.b", eventlog.Position{Epoch: id.Epoch, Seq: 1<<64 - 1}},
		} {
			if ev, err := h.Event(t.Context(), at.topic, at.id); !errors.Is(err, eventlog.ErrNotFound) {
				t.Errorf("%s: %+v, %v", rule, ev, err)
			}
		}
		if ev, err := h.Event(t.Context(), "a.*", id); err == nil || ev.Data != "" {
			t.Errorf("a filter is taken for a topic: %+v, %v", ev, err)
		}
	})
}

func TestTopicsOfAHub(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		ids := publish(t, h, "b:1", "a.x:2", "b:3", "c:4")
		sub := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("b", "*"), From: hub.FromStart()})
		sub.want(t, "b:1")
		all, _ := topics.ParseFilter("**")
		found, err := h.Topics(t.Context(), all, "", 10)
		want := fmt.Sprint([]eventlog.TopicInfo{
			{Topic: "a.x", Last: position(t, ids[1]), Count: 1, Time: time.Now().UTC()}, {Topic: "b", Last: position(t, ids[2]), Count: 2, Time: time.Now().UTC()}, {Topic: "c", Last: position(t, ids[3]), Count: 1, Time: time.Now().UTC()},
		})
		if got := fmt.Sprint(found); got != want || err != nil {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
		if found, err = h.Topics(t.Context(), all, "a.x", 1); len(found) != 1 || found[0].Topic != "b" || err != nil {
			t.Errorf("after a.x: %v, %v", found, err)
		}
		topic, subscribers, err := h.Topic(t.Context(), "b")
		if topic.Last.String() != ids[2] || topic.Count != 2 || subscribers != 1 || err != nil {
			t.Errorf("b: %+v, %d subscribers, %v", topic, subscribers, err)
		}
		if _, subscribers, err = h.Topic(t.Context(), "a.x"); subscribers != 0 || err != nil {
			t.Errorf("a.x: %d subscribers, %v", subscribers, err)
		}
		if _, subscribers, err = h.Topic(t.Context(), "d"); subscribers != 1 || !errors.Is(err, eventlog.ErrNotFound) {
			t.Errorf("d: %d subscribers, %v", subscribers, err)
		}
		if _, _, err = h.Topic(t.Context(), "*"); err == nil || errors.Is(err, eventlog.ErrNotFound) {
			t.Errorf("*: %v", err)
		}
		sub.stop()
		synctest.Wait()
		if _, subscribers, _ = h.Topic(t.Context(), "b"); subscribers != 0 {
			t.Errorf("b, after its subscriber has left: %d", subscribers)
		}
	})
}
