package httpapi_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
)

func TestHistory(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2})
		first := s.publish(t, "/topics/orders.42", "packed")
		s.publish(t, "/topics/orders.7", "x")
		s.publish(t, "/topics/orders.42?type=status", "{\"text\": \"<shipped> &\",\r\n \"n\": 1}\u2028")
		s.publish(t, "/topics/orders.42", "arrived")
		golden(t, "history.golden.json", s.get(t, "/topics/orders.42/events?limit=2").body)
		golden(t, "history-end.golden.json", s.get(t, "/topics/nothing/events").body)
		if got, all := s.get(t, "/topics/orders.42/events?after="+first).body, s.get(t, "/topics/orders.42/events?after=").body; strings.Contains(got, "packed") || !strings.Contains(all, "packed") {
			t.Errorf("after the first: %s\nall: %s", got, all)
		}
	})
}

// The pages of a history together are the history, and a stream goes on where
// they end.
func TestHistoryPages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{})
		var want []string
		for i := range 250 {
			topic := "a"
			if i%3 == 0 {
				topic = "b"
			} else {
				want = append(want, strconv.Itoa(i))
			}
			if _, err := s.hub.Publish(t.Context(), hub.Message{Topic: topic, Data: strconv.Itoa(i)}); err != nil {
				t.Fatal(err)
			}
		}
		for _, limit := range []int{1, 7, 100, 1000} {
			var got []string
			next, pages := "", 0
			for more := true; more; pages++ {
				var page struct {
					Events []hub.Event
					Next   string
					More   bool
					Gap    any
				}
				decode(t, s.get(t, "/topics/a/events?limit="+strconv.Itoa(limit)+"&after="+next).body, &page)
				for _, ev := range page.Events {
					got = append(got, ev.Data)
				}
				if len(page.Events) > limit || page.Gap != nil || pages > 300 {
					t.Fatalf("limit %d: page %+v", limit, page)
				}
				next, more = page.Next, page.More
			}
			if strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("limit %d: %v", limit, got)
			}
			stream := s.listen(t, "/events?topic=a", "Last-Event-ID", next)
			id := s.publish(t, "/topics/a", "live")
			stream.next(t)
			stream.want(t, "data: live\nid: "+mask(id)+"\n")
			want = append(want, "live")
		}
	})
}

func TestHistoryGap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{log: eventlog.NewMemory(&eventlog.MemoryOptions{MaxAge: time.Hour})})
		first := s.publish(t, "/topics/orders.42", "packed")
		s.publish(t, "/topics/orders.42", "shipped")
		time.Sleep(2 * time.Hour)
		s.publish(t, "/topics/orders.42", "arrived")
		golden(t, "history-gap.golden.json", s.get(t, "/topics/orders.42/events?after="+first).body)
		// From the beginning nothing is missed.
		if got := s.get(t, "/topics/orders.42/events").body; strings.Contains(got, "gap") || !strings.Contains(got, "arrived") {
			t.Errorf("from the beginning: %s", got)
		}
		if got := s.get(t, "/topics/orders.42/events?after=00000000zzzz-7").body; !strings.Contains(got, `"gap":{"reason":"unknown","after":"00000000zzzz-7"`) {
			t.Errorf("after an id of another log: %s", got)
		}
	})
}

func TestEvent(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2, log: eventlog.NewMemory(&eventlog.MemoryOptions{MaxAge: time.Hour})})
		id := s.publish(t, "/topics/a?type=t", "\u2028<\r\n")
		want := `{"id":"` + epoch + `-1","topic":"a","type":"t","data":"\u2028<\r\n","time":"2000-01-01T00:00:00Z"}` + "\n"
		if r := s.get(t, "/topics/a/events/"+id); r.status != 200 || mask(r.body) != want {
			t.Errorf("%d %s, want %s", r.status, mask(r.body), want)
		}
		s.get(t, "/topics/b/events/"+id).problem(t, 404, "event-not-found") // of another topic
		s.get(t, "/topics/a/events/"+strings.Replace(id, "-1", "-2", 1)).problem(t, 404, "event-not-found")
		s.get(t, "/topics/a/events/"+strings.Replace(id, "-1", "-01", 1)).problem(t, 400, "invalid-id")
		time.Sleep(2 * time.Hour)
		if r := s.get(t, "/topics/a/events/"+id); !strings.HasSuffix(r.body, `"detail":"The event with this id has expired.","reason":"expired"}`+"\n") {
			r.problem(t, 404, "event-not-found")
			t.Errorf("expired: %s", r.body)
		}
	})
}
