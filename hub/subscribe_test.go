package hub_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// Where a subscription begins: what was published before it, a message a second,
// and what it then gets before what is published later. In from, $N is the id of
// the Nth message, and $0 the position before the first.
var (
	beforeASubscription  = []string{"a:1", "b:2", "a:3", "c.d:4", "a:5", "b:6"}
	whereASubscriptionIs = []struct {
		rule   string
		topics string
		from   string
		want   string
	}{
		{"the default", "**", "", ""},
		{"now", "a", "now", ""},
		{"the oldest", "**", "start", "a:1 b:2 a:3 c.d:4 a:5 b:6"},
		{"the oldest that matches", "b", "start", "b:2 b:6"},
		{"the newest of each topic", "**", "last", "c.d:4 a:5 b:6"},
		{"the newest of each topic that matches", "*", "last", "a:5 b:6"},
		{"the newest of none", "z", "last", ""},
		{"the newest 1", "**", "1", "b:6"},
		{"the newest 2 that match", "a", "2", "a:3 a:5"},
		{"more than there are", "a", "100", "a:1 a:3 a:5"},
		{"the newest 0", "**", "0", ""},
		{"after an id", "**", "$3", "c.d:4 a:5 b:6"},
		{"after the id of another topic", "a", "$2", "a:3 a:5"},
		{"after the first position", "a", "$0", "a:1 a:3 a:5"},
		{"after the newest", "**", "$6", ""},
		{"a time before all", "**", "1999-01-01T00:00:00Z", "a:1 b:2 a:3 c.d:4 a:5 b:6"},
		{"the time of a message", "**", "2000-01-01T00:00:04Z", "c.d:4 a:5 b:6"},
		{"a time between two", "a", "2000-01-01T00:00:03.5Z", "a:5"},
		{"a time to come", "**", "2000-01-02T00:00:00Z", ""},
		{"several topics", "a c.d", "start", "a:1 a:3 c.d:4 a:5"},
		{"topics that overlap", "a * ** a", "start", "a:1 b:2 a:3 c.d:4 a:5 b:6"},
	}
)

func TestWhereASubscriptionBegins(t *testing.T) {
	before := beforeASubscription
	for _, tt := range whereASubscriptionIs {
		for _, where := range []string{"window", "log"} {
			for _, how := range []string{"from", "last event ID"} {
				if how != "from" && !strings.HasPrefix(tt.from, "$") {
					continue
				}
				t.Run(fmt.Sprintf("%s, %s, by %s in the %s", tt.rule, tt.topics, how, where), func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						window := map[string]int{"window": 100, "log": 1}[where]
						h := newHub(t, nil, &hub.Options{Window: window})
						ids := []string{""}
						for _, m := range before {
							time.Sleep(time.Second)
							ids = append(ids, publish(t, h, m)...)
						}
						first, _ := eventlog.ParsePosition(ids[1])
						ids[0] = eventlog.Position{Epoch: first.Epoch}.String()
						synctest.Wait()
						if n := h.InWindow(); n != min(window, len(before)) {
							t.Fatalf("%d messages in the window", n)
						}

						from := tt.from
						if n, ok := strings.CutPrefix(from, "$"); ok {
							from = ids[n[0]-'0']
						}
						sub := hub.Subscription{Filters: topics.MustFilters(strings.Fields(tt.topics)...)}
						if how == "from" {
							var err error
							if sub.From, err = hub.ParseFrom(from); err != nil {
								t.Fatal(err)
							}
						} else {
							sub.LastEventID = from
							sub.From = hub.FromStart() // which the id beats
						}
						s := subscribe(t, h, sub)
						s.want(t, strings.Fields(tt.want)...)

						live := strings.ReplaceAll(sub.Filters[len(sub.Filters)-1].String(), "*", "x") + ":live"
						ids = publish(t, h, "un.re.lated:0", live)
						if sub.Filters[0].String() == "**" || len(sub.Filters) > 2 {
							s.want(t, "un.re.lated:0")
						}
						if ev, err, _ := s.next(); text(ev, err) != live || ev.ID.String() != ids[1] || ev.Type != "message" {
							t.Errorf("live comes %q (%+v), want %q with the id %q", text(ev, err), ev, live, ids[1])
						}
					})
				})
			}
		}
	}
}

// The position is taken before Subscribe returns, however late ranging begins.
func TestSubscribeTakesThePosition(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		publish(t, h, "a:1")
		s.want(t, "a:1")
	})
}

// A message that was acknowledged is never skipped by a subscription that begins
// afterwards with the newest messages, even if the hub has not seen it yet.
func TestWhatIsAcknowledgedIsNotSkipped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		for i := range 200 {
			m := fmt.Sprintf("a:%d", i)
			publish(t, h, m)
			s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromLast()})
			for {
				// The one before may come first, as the newest that the hub knows of.
				ev, err, _ := s.next()
				if got := text(ev, err); got == m {
					break
				} else if got != fmt.Sprintf("a:%d", i-1) {
					t.Fatalf("after %s comes %s", m, got)
				}
			}
			s.stop()
		}
	})
}

// Now is after what was acknowledged, even if the hub has not seen that yet.
func TestNowIsAfterWhatIsAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &heldLog{Log: eventlog.NewMemory(nil)}
		h := newHub(t, log, nil)
		log.hold()
		publish(t, h, "a:before")
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		publish(t, h, "a:after")
		log.release()
		s.want(t, "a:after")
	})
}

// Ids with which the hub can do nothing, in a log of a:1, a:2 and a:3.
var idsThatMakeAGap = []struct {
	name, id string // $E is the log's epoch
	from     string
	reason   string
	want     string // after the gap
}{
	{"malformed, from now", "17", "now", sse.GapMalformed, "a:1 a:2 a:3"},
	{"malformed, from the oldest", "<script>", "start", sse.GapMalformed, "a:1 a:2 a:3"},
	{"malformed, from the last", "é\x7f", "last", sse.GapMalformed, "a:1 a:2 a:3"},
	{"of a log before this one", "000000000000-2", "now", sse.GapUnknown, "a:1 a:2 a:3"},
	{"of another log, from a place that the id beats", "zzzzzzzzzzzz-2", "last", sse.GapUnknown, "a:1 a:2 a:3"},
	{"to come", "$E-4", "start", sse.GapFuture, ""},
	{"far to come", "$E-18446744073709551615", "start", sse.GapFuture, ""},
}

// An id with which the hub can do nothing makes a gap, and the subscription goes
// on at a place that the gap names.
func TestIDsThatMakeAGap(t *testing.T) {
	for _, tt := range idsThatMakeAGap {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHub(t, nil, nil)
				ids := publish(t, h, "a:1", "a:2", "a:3")
				synctest.Wait()
				last, _ := eventlog.ParsePosition(ids[2])
				id := strings.Replace(tt.id, "$E", last.Epoch, 1)
				from, err := hub.ParseFrom(tt.from)
				if err != nil {
					t.Fatal(err)
				}
				s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), LastEventID: id, From: from})
				_, err, _ = s.next()
				gap, ok := errors.AsType[*sse.GapError](err)
				if !ok || gap.Reason != tt.reason || gap.Missed != 0 {
					t.Fatalf("first comes %v, want a gap of the reason %s", err, tt.reason)
				}
				if strings.ContainsFunc(tt.id, func(r rune) bool { return r < ' ' || r > '~' }) {
					id = ""
				}
				if gap.After != id {
					t.Errorf("the gap is after %q, want %q", gap.After, id)
				}
				s.want(t, strings.Fields(tt.want)...)
				publish(t, h, "a:4")
				s.want(t, "a:4")
				// Where it went on has a name by which others go on there, too.
				again := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), LastEventID: gap.Next})
				again.want(t, append(strings.Fields(tt.want), "a:4")...)
			})
		})
	}
}

// An id from another node is no gap, even if this one has not come so far.
func TestIDThatOnlyTheLogKnows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &heldLog{Log: eventlog.NewMemory(nil)}
		h := newHub(t, log, nil)
		log.hold()
		publish(t, h, "a:1", "a:2")
		ids := publish(t, h, "a:3")
		if h.Head() != 0 {
			t.Fatal("the hub has seen what the log holds back")
		}
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), LastEventID: ids[0]})
		publish(t, h, "a:4")
		log.release()
		s.want(t, "a:4")
		publish(t, h, "a:5")
		s.want(t, "a:5")
	})
}

// A heldLog can hold its tail back.
type heldLog struct {
	eventlog.Log
	held chan struct{}
}

func (l *heldLog) hold()    { l.held = make(chan struct{}) }
func (l *heldLog) release() { close(l.held) }

func (l *heldLog) Tail(ctx context.Context, generation, after uint64) iter.Seq2[[]eventlog.Record, error] {
	return func(yield func([]eventlog.Record, error) bool) {
		for records, err := range l.Log.Tail(ctx, generation, after) {
			if l.held != nil {
				select {
				case <-l.held:
				case <-ctx.Done():
				}
			}
			if !yield(records, err) {
				return
			}
		}
	}
}

func TestSubscriptionsThatAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, &hub.Options{MaxSubscribers: 2})
		for name, filters := range map[string][]topics.Filter{
			"none":               nil,
			"too many":           slices.Repeat(topics.MustFilters("a"), hub.MaxFilters+1),
			"one that is no one": {topics.MustFilters("a")[0], topics.Filter{}},
			"too many stars":     topics.MustFilters("*.*.*.*.**", "*.*.a.*.*.*"),
		} {
			_, err := h.Subscribe(t.Context(), hub.Subscription{Filters: filters})
			if invalid, ok := errors.AsType[*hub.InvalidError](err); !ok || invalid.Field != "filter" {
				t.Errorf("%s: %v", name, err)
			}
		}
		unknown := hub.Subscription{Filters: topics.MustFilters("a"), Format: 7}
		if invalid, ok := errors.AsType[*hub.InvalidError](func() error { _, err := h.Subscribe(t.Context(), unknown); return err }()); !ok || invalid.Field != "format" {
			t.Errorf("an unknown format: %v", invalid)
		}
		tooMany := hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromCount(hub.MaxFromCount + 1)}
		_, err := h.Subscribe(t.Context(), tooMany)
		if invalid, ok := errors.AsType[*hub.InvalidError](err); !ok || invalid.Field != "from" {
			t.Errorf("more than MaxFromCount: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		w := httptest.NewRecorder()
		err = h.ServeEvents(w, httptest.NewRequestWithContext(ctx, "GET", "/", nil), tooMany)
		if invalid, ok := errors.AsType[*hub.InvalidError](err); !ok || invalid.Field != "from" || w.Code != http.StatusBadRequest {
			t.Errorf("more than MaxFromCount: %d, %v", w.Code, err)
		}
		// None took a place.
		sub := hub.Subscription{Filters: topics.MustFilters("a")}
		first, second := subscribe(t, h, sub), subscribe(t, h, sub)
		if _, err := h.Subscribe(t.Context(), sub); !errors.Is(err, hub.ErrUnavailable) {
			t.Errorf("a third of two: %v", err)
		}
		publish(t, h, "a:1")
		first.want(t, "a:1")
		first.stop()
		second.stop() // was never ranged: its context has ended
		synctest.Wait()
		if running, places := h.Streams(); running != 0 || places != 0 {
			t.Errorf("%d subscriptions run and %d have a place, want none", running, places)
		}
		subscribe(t, h, sub)
	})
}

// Everyone gets the same messages in the same order, from several publishers.
func TestOneOrderForAll(t *testing.T) {
	h := newHub(t, nil, &hub.Options{Window: 16}) // so small that some read from the log
	const publishers, each = 4, 500
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	results := make(chan []string, 8)
	for range cap(results) {
		events, err := h.Subscribe(ctx, hub.Subscription{Filters: topics.MustFilters("**")})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			var got []string
			for ev, err := range events {
				if got = append(got, text(ev, err)); len(got) == publishers*each {
					break
				}
			}
			results <- got
		}()
	}
	for p := range publishers {
		go func() {
			for i := range each {
				h.Publish(ctx, hub.Message{Topic: fmt.Sprintf("t%d", p), Data: fmt.Sprint(i)})
			}
		}()
	}
	want := <-results
	if len(want) != publishers*each {
		t.Fatalf("%d messages came, want %d", len(want), publishers*each)
	}
	next := map[string]int{}
	for _, m := range want {
		topic, _, _ := strings.Cut(m, ":")
		if m != fmt.Sprintf("%s:%d", topic, next[topic]) {
			t.Fatalf("%s comes when %d is next", m, next[topic])
		}
		next[topic]++
	}
	for range cap(results) - 1 {
		if got := <-results; !slices.Equal(got, want) {
			t.Fatal("two subscribers got another order")
		}
	}
}

// A consumer that never comes back for more, though its context is done, keeps no stream.
func TestConsumerThatNeverComesBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		ctx, cancel := context.WithCancel(t.Context())
		events, err := h.Subscribe(ctx, hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromStart()})
		if err != nil {
			t.Fatal(err)
		}
		publish(t, h, "a:1", "a:2")
		next, stop := iter.Pull2(events)
		defer stop()
		if ev, err, ok := next(); !ok || text(ev, err) != "a:1" {
			t.Fatalf("it begins with %s", text(ev, err))
		}
		cancel()
		synctest.Wait()
		if open, places := h.Streams(); open != 0 || places != 0 {
			t.Errorf("%d streams are open, %d have a place", open, places)
		}
		if ev, err, ok := next(); ok {
			t.Errorf("then comes %s", text(ev, err))
		}
	})
}

// A subscription's sequence is ranged once. Ranged again it ends at once, however the first
// loop ended, and no seat is given back twice.
func TestSubscriptionRangedAgainEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(h *hub.Hub, cancel context.CancelFunc) // what ends the first loop; nil for a break
	}{
		{"after a break", nil},
		{"after the end of its context", func(_ *hub.Hub, cancel context.CancelFunc) { cancel() }},
		{"after the end of the hub", func(h *hub.Hub, _ context.CancelFunc) { h.Drain() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHub(t, nil, nil)
				publish(t, h, "a:1", "a:2", "a:3")
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				events, err := h.Subscribe(ctx, hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromStart()})
				if err != nil {
					t.Fatal(err)
				}
				for ev, err := range events {
					if err == nil && tt.end == nil {
						break
					} else if err == nil && ev.Data == "3" {
						tt.end(h, cancel)
					}
				}
				synctest.Wait()
				for ev, err := range events {
					t.Errorf("ranged again, the sequence yields %q", text(ev, err))
				}
				synctest.Wait()
				if open, seats := h.Streams(); open != 0 || seats != 0 {
					t.Errorf("%d streams and %d seats are left", open, seats)
				}
			})
		})
	}
}

// While one goroutine ranges a subscription's sequence, it ends at once on another one.
func TestSubscriptionRangedTwiceAtATime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		ctx, cancel := context.WithCancel(t.Context())
		events, err := h.Subscribe(ctx, hub.Subscription{Filters: topics.MustFilters("a")})
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan string, 1)
		go func() {
			for ev, err := range events {
				got <- text(ev, err)
			}
			close(got)
		}()
		synctest.Wait()
		for ev, err := range events {
			t.Errorf("ranged twice, the sequence yields %q", text(ev, err))
		}
		publish(t, h, "a:1")
		if first := <-got; first != "a:1" {
			t.Errorf("the first loop gets %q", first)
		}
		cancel()
		if more, ok := <-got; ok {
			t.Errorf("the first loop gets %q", more)
		}
	})
}
