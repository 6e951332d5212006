package hub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/topics"
)

// wantLive takes tidings.live, which has the given id, or any if that is empty.
func (s *subscriber) wantLive(t *testing.T, id string) {
	t.Helper()
	ev, err, ok := s.next()
	want := hub.Event{ID: ev.ID, Type: hub.LiveEventType, Data: `{"position":"` + ev.ID.String() + `"}`}
	if err != nil || !ok || ev != want || id != "" && ev.ID.String() != id {
		t.Fatalf("instead of tidings.live with the id %s comes %+v, %v, %v", id, ev, err, ok)
	}
}

// Wherever a subscription begins, it is told once that it has caught up: after what was
// published before, and before what is published later.
func TestLive(t *testing.T) {
	for _, tt := range whereASubscriptionIs {
		for _, window := range []int{100, 1} {
			t.Run(fmt.Sprintf("%s, %s, window %d", tt.rule, tt.topics, window), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					h := newHub(t, nil, &hub.Options{Window: window})
					var ids []string
					for _, m := range beforeASubscription {
						time.Sleep(time.Second)
						ids = append(ids, publish(t, h, m)...)
					}
					first := position(t, ids[0])
					from := tt.from
					if n, ok := strings.CutPrefix(from, "$"); ok {
						from = slices.Concat([]string{eventlog.Position{Epoch: first.Epoch}.String()}, ids)[n[0]-'0']
					}
					sub := hub.Subscription{Filters: topics.MustFilters(strings.Fields(tt.topics)...), Live: true}
					var err error
					if sub.From, err = hub.ParseFrom(from); err != nil {
						t.Fatal(err)
					}
					s := subscribe(t, h, sub)
					s.want(t, strings.Fields(tt.want)...)
					s.wantLive(t, ids[len(ids)-1])
					live := strings.ReplaceAll(sub.Filters[0].String(), "*", "x") + ":live"
					for range 3 {
						publish(t, h, live)
						s.want(t, live)
					}
				})
			})
		}
	}
}

// What was published while the subscriber had not begun to read comes as soon as it is there.
// Whether that is before tidings.live is not promised. That nothing older comes after it is.
func TestLiveOfAnEmptyLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromStart(), Live: true})
		s.wantLive(t, "")
		publish(t, h, "a:1")
		s.want(t, "a:1")
		// A gap comes first.
		s = subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), LastEventID: "nonsense", Live: true})
		s.want(t, "gap malformed 0", "a:1")
		s.wantLive(t, "")
		// Without Live there is none.
		s = subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromStart()})
		publish(t, h, "a:2")
		s.want(t, "a:1", "a:2")
	})
}

// On every path one tidings.live comes, after all that was acknowledged before the stream began,
// while messages go on to be published, more than the window holds, in either format.
func TestPathLive(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		for name, more := range map[string][]string{"data": nil, "envelope": {"format", "envelope"}, "skip": {"lag", "skip"}} {
			t.Run(name, func(t *testing.T) {
				const before = 3000
				s := p.station(t, nil, &hub.Options{Window: 200}, nil)
				publish(t, s.Hub, numbered("a", "", before)...)
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				done := make(chan struct{})
				go func() {
					defer close(done)
					for i := before; ctx.Err() == nil; i++ {
						s.Publish(context.Background(), hub.Message{Topic: "a", Data: fmt.Sprint(i)})
						time.Sleep(100 * time.Microsecond)
					}
				}()
				c := s.stream(t, query("a", append(more, "from", "start", "live", "true")...)).opened(t)
				n, lives := 0, 0
				for lives == 0 || n < before+500 {
					ev := c.event(t)
					switch {
					case ev.Type == hub.LiveEventType:
						if lives++; n < before || lives > 1 {
							t.Fatalf("tidings.live number %d comes after %d messages", lives, n)
						}
						if at := position(t, ev.ID); at.Seq != uint64(n) || ev.Data != `{"position":"`+ev.ID+`"}` {
							t.Fatalf("after %d messages comes %+v", n, ev)
						}
					case ev.Type == hub.PositionEventType:
					case position(t, ev.ID).Seq != uint64(n)+1:
						t.Fatalf("after message %d comes %+v", n, ev)
					default:
						n++
					}
				}
				stop()
				<-done
			})
		}
	})
}

// A stream that begins with the newest message of each topic is live when it has one of each:
// also those that came in place of others while it looked for them.
func TestLiveAfterTheNewestOfEachTopic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const n = 600 // more than are looked for at once
		h := newHub(t, nil, &hub.Options{Window: 1})
		for i := range n {
			publish(t, h, fmt.Sprintf("a.%d:old", i))
		}
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a.*"), From: hub.FromLast(), Live: true})
		publish(t, h, fmt.Sprintf("a.%d:new", n-1), "b:1")
		seen := map[string]int{}
		for {
			ev, err, ok := s.next()
			if err != nil || !ok {
				t.Fatal(err)
			}
			if ev.Type == hub.LiveEventType {
				break
			}
			seen[ev.Topic]++
		}
		if len(seen) != n {
			t.Errorf("of %d topics %d are known when the stream is live", n, len(seen))
		}
	})
}

// A stream does not count as live while the hub has not seen what the log has, as when another
// node has stored it. If the log does not deliver it in time, there is no stream.
func TestLiveWaitsForTheWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &heldLog{Log: eventlog.NewMemory(nil)}
		h := newHub(t, log, nil)
		sub := hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromStart(), Live: true}
		log.hold()
		log.Append(t.Context(), []eventlog.Message{{Topic: "a", Data: "1"}}) // another node
		go func() {
			time.Sleep(time.Second)
			log.release()
		}()
		s := subscribe(t, h, sub)
		s.want(t, "a:1")
		s.wantLive(t, "")
		log.hold()
		defer log.release()
		log.Append(t.Context(), []eventlog.Message{{Topic: "a", Data: "2"}})
		begun := time.Now()
		if _, err := h.Subscribe(t.Context(), sub); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 5*time.Second {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		if open, seats := h.Streams(); open != 1 || seats != 1 {
			t.Errorf("%d streams with %d seats", open, seats)
		}
	})
}

// The log of the program says that a stream could not begin, and has no credential that a client has
// put into the path.
func TestStreamThatCannotBeginIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var logged strings.Builder
		log := &heldLog{Log: eventlog.NewMemory(nil)}
		h := newHub(t, log, &hub.Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		log.hold()
		defer log.release()
		log.Append(t.Context(), []eventlog.Message{{Topic: "a", Data: "1"}}) // another node
		const key = "tdk_shop-2_uVx0cM1-_pQ3vZ8kq0hG1n2m3b4v5c6x7z8a9s0d1f2"
		r := httptest.NewRequest("GET", "/streams/"+key, nil)
		if err := h.ServeEvents(httptest.NewRecorder(), r, hub.Subscription{Filters: topics.MustFilters("a"), Live: true}); err == nil {
			t.Error("the stream began")
		}
		if got := logged.String(); strings.Contains(got, key[11:]) || !strings.Contains(got, "path=/streams/(credential)") {
			t.Errorf("the log: %s", got)
		}
	})
}

// A stream that was not live when the log was opened anew, with less than it had, is live when it
// has what is left.
func TestLiveWhenTheLogIsOpenedAnew(t *testing.T) {
	for _, tt := range openedAnew {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				log := newFragileLog()
				h := newHub(t, log, &hub.Options{Window: 4})
				publish(t, h, numbered("a", "", 10)...)
				synctest.Wait()
				s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromStart(), Live: true})
				log.reopen(t, tt.survives, tt.how)
				time.Sleep(time.Minute)
				for {
					ev, err, ok := s.next()
					if !ok {
						t.Fatal("the stream has ended")
					}
					if err == nil && ev.Type == hub.LiveEventType {
						break
					}
				}
				publish(t, h, "a:new")
				s.want(t, "a:new")
			})
		})
	}
}
