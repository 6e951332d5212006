package hub_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/hub/stats"
	"example.com/tidings/topics"
)

// budgetOf returns the figures of one of a hub's budgets.
func budgetOf(t *testing.T, h *hub.Hub, name string) stats.Budget {
	t.Helper()
	for _, b := range h.Stats().Budgets {
		if b.Name == name {
			return b
		}
	}
	t.Fatalf("there is no budget %s", name)
	return stats.Budget{}
}

// A reader ranges over a stream.
type reader struct {
	mu       sync.Mutex
	messages int
	err      error
	done     bool
}

func (r *reader) got() (messages int, err error, done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.messages, r.err, r.done
}

// texts ranges over a stream of ServeEvents, and calls after when it has taken a part.
func (r *reader) texts(seq iter.Seq2[[]byte, error], after func(messages int)) {
	r.range2(func(yield func(int, error) bool) {
		for text, err := range seq {
			if !yield(strings.Count(string(text), "\nid: ")-strings.Count(string(text), "event: tidings."), err) {
				return
			}
		}
	}, after)
}

// events ranges over a sequence of Subscribe.
func (r *reader) events(seq iter.Seq2[hub.Event, error], after func(messages int)) {
	r.range2(func(yield func(int, error) bool) {
		for _, err := range seq {
			if !yield(1, err) {
				return
			}
		}
	}, after)
}

func (r *reader) range2(seq iter.Seq2[int, error], after func(messages int)) {
	for n, err := range seq {
		r.mu.Lock()
		r.messages, r.err = r.messages+n, err
		r.mu.Unlock()
		if err != nil {
			break
		}
		after(n)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = true
}

// What streams have read from the log and not taken stays within its budget, in encoded bytes.
// A stream that reads gets on, although others take nothing: those end, and the others of them
// wait. Nobody gets less than everything without an end that says so.
func TestCatchUpHasABudget(t *testing.T) {
	const messages, silent = 30, 40
	for name, data := range map[string]string{
		"small messages":           strings.Repeat("\n", 1<<10),
		"messages of half a share": strings.Repeat("\n", 40<<10),
		"messages above a share":   strings.Repeat("\n", 200<<10),
	} {
		for _, kind := range []string{"data", "envelope", "Subscribe"} {
			t.Run(name+", "+kind, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					h := newHub(t, nil, &hub.Options{Window: 1, ClientBytes: 3 << 20, WriteTimeout: time.Hour})
					sub := hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromStart()}
					if kind == "envelope" {
						sub.Format = hub.FormatEnvelope
					}
					for range messages {
						publish(t, h, "a:"+data)
					}
					synctest.Wait()
					ctx, cancel := context.WithCancel(t.Context())
					release := make(chan struct{})
					read := func(after func(int)) *reader {
						r := new(reader)
						if kind == "Subscribe" {
							seq, err := h.Subscribe(ctx, sub)
							if err != nil {
								t.Fatal(err)
							}
							go r.events(seq, after)
							return r
						}
						seq, err := h.Texts(ctx, sub)
						if err != nil {
							t.Fatal(err)
						}
						go r.texts(seq, after)
						return r
					}
					var all []*reader
					for range silent {
						all = append(all, read(func(n int) {
							if n > 0 {
								<-release
							}
						}))
						synctest.Wait()
					}
					most := int64(0)
					honest := read(func(int) {
						most = max(most, budgetOf(t, h, "catch-up").Used)
						time.Sleep(100 * time.Millisecond)
					})
					time.Sleep(2 * time.Minute)
					if n, err, _ := honest.got(); n < messages || err != nil {
						t.Errorf("the reader has got %d messages, %v", n, err)
					}
					b := budgetOf(t, h, "catch-up")
					larger := int64(8 * len(data)) // a message above the share is beside the budget
					if len(data) < 100<<10 {
						larger = 0
					}
					if most == 0 || most > b.Limit+larger {
						t.Errorf("%d bytes were held, of %d", most, b.Limit)
					}
					close(release)
					time.Sleep(time.Minute)
					ended := 0
					for i, r := range all {
						n, err, done := r.got()
						end, ok := errors.AsType[*hub.EndError](err)
						switch {
						case ok && end.Reason == hub.EndLimit && done:
							ended++
						case n < messages || err != nil:
							t.Errorf("silent stream %d has got %d messages, %v", i, n, err)
						}
					}
					if b := budgetOf(t, h, "catch-up"); b.Refused > 0 != (ended > 0) {
						t.Errorf("%d streams have ended, and the budget has refused %d", ended, b.Refused)
					}
					cancel()
					synctest.Wait()
					if b := budgetOf(t, h, "catch-up"); b.Used != 0 {
						t.Errorf("%d bytes stay taken", b.Used)
					}
				})
			})
		}
	}
}

// A window whose messages grow when they are encoded holds fewer of them, and its streams miss
// nothing.
func TestWindowGrowsOnTheWire(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, &hub.Options{WindowBytes: 1 << 20})
		data := strings.Repeat("\x01", 4<<10)
		all := numbered("a", data, 200)
		first := publish(t, h, all...)[0]
		synctest.Wait()
		if n := h.InWindow(); n != 200 {
			t.Fatalf("%d messages are in the window", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		seq, err := h.Texts(ctx, hub.Subscription{Filters: topics.MustFilters("a"), LastEventID: first, Format: hub.FormatEnvelope})
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		var reading sync.WaitGroup
		reading.Go(func() {
			for b := range seq {
				text.Write(b)
				time.Sleep(time.Millisecond)
			}
		})
		time.Sleep(time.Minute)
		cancel()
		reading.Wait()
		rest := text.String()
		for i := 1; i < 200; i++ {
			var ok bool
			if _, rest, ok = strings.Cut(rest, fmt.Sprintf(`\u0001%d"`, i)); !ok {
				t.Fatalf("message %d is missing", i)
			}
		}
		if n := h.InWindow(); n > 60 || n < 20 {
			t.Errorf("%d messages are left in the window", n)
		}
	})
}

// manyFilters returns filters that share nothing.
func manyFilters(who, n int) []topics.Filter {
	patterns := make([]string, n)
	for i := range patterns {
		patterns[i] = fmt.Sprintf("%d-%d.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p", who, i)
	}
	return topics.MustFilters(patterns...)
}

// The budget of filters counts what they take. It is given back once, whichever way a stream
// ends or fails to begin. Streams with the same filters take no more than one.
func TestFiltersHaveABudget(t *testing.T) {
	const streams = 20
	h := newHub(t, nil, &hub.Options{ClientBytes: 960 << 20})
	ctx, cancel := context.WithCancel(t.Context())
	open := func(ctx context.Context, h *hub.Hub, filters []topics.Filter) error {
		seq, err := h.Subscribe(ctx, hub.Subscription{Filters: filters})
		if err == nil {
			go func() {
				for range seq {
				}
			}()
		}
		return err
	}
	before := heap()
	for i := range streams {
		if err := open(ctx, h, manyFilters(i, hub.MaxFilters)); err != nil {
			t.Fatal(err)
		}
	}
	opened := func(n int) func() bool {
		return func() bool { open, _ := h.Streams(); return open == n }
	}
	eventually(t, "all are open", opened(streams))
	grown, counted := heap()-before, int(budgetOf(t, h, "filters").Used)
	t.Logf("%d bytes for each stream, %d counted", grown/streams, counted/streams)
	if counted < grown*2/3 || counted > grown*3/2 {
		t.Errorf("the heap has grown by %d bytes, and the budget counts %d", grown, counted)
	}
	shards := len(h.Stats().Shards)
	for range 2 * shards {
		open(ctx, h, manyFilters(0, hub.MaxFilters))
	}
	eventually(t, "more are open", opened(streams+2*shards))
	if n, most := int(budgetOf(t, h, "filters").Used), counted+counted/streams*(shards-1); n > most {
		t.Errorf("with streams that share filters, the budget counts %d, want %d", n, most)
	}
	cancel()
	eventually(t, "all is given back", func() bool { return budgetOf(t, h, "filters").Used == 0 })

	h = newHub(t, nil, nil)
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	admitted := 0
	for err := error(nil); err == nil && admitted < 1000; admitted++ {
		if err = open(ctx, h, manyFilters(admitted, hub.MaxFilters)); err != nil && !errors.Is(err, hub.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if admitted < 10 || admitted == 1000 {
		t.Errorf("%d such streams are admitted", admitted)
	}
	if err := open(ctx, h, topics.MustFilters("an.ordinary.one")); err != nil {
		t.Errorf("a stream with one filter: %v", err)
	}
}

// A stream that net/http carries is refused if its request would take much memory for as long as
// it goes on. One on a connection that is taken over keeps none.
func TestRequestsHaveABudget(t *testing.T) {
	on(t, ownPaths, func(t *testing.T, p path) {
		s := p.station(t, nil, &hub.Options{ClientBytes: 960 << 10}, nil)
		header := []string{"Accept", "text/event-stream"}
		for i := range 400 {
			header = append(header, fmt.Sprintf("X-%d", i), "")
		}
		c, err := s.get(t.Context(), s.dial(t), query("a"), header...)
		if err != nil {
			t.Fatal(err)
		}
		b := budgetOf(t, s.Hub, "requests")
		if p == takenOver {
			c.opened(t)
			if b.Used != 0 {
				t.Errorf("%+v", b)
			}
			return
		}
		c.unavailable(t, "", !p.seesBreak())
		if b.Used != 0 || b.Refused != 1 {
			t.Errorf("%+v", b)
		}
		c = s.stream(t, query("a"), header[:120]...).opened(t)
		if b := budgetOf(t, s.Hub, "requests"); b.Used == 0 {
			t.Errorf("%+v", b)
		}
		c.conn.Close()
		s.vacated(t)
		if b := budgetOf(t, s.Hub, "requests"); b.Used != 0 {
			t.Errorf("%d bytes stay taken", b.Used)
		}
	})
}

// Whatever streams do, all that they have taken is given back.
func TestBudgetsAreGivenBack(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		s := p.station(t, nil, &hub.Options{Window: 4, WindowBytes: 64 << 10, ClientBytes: 48 << 20}, nil)
		for range 40 {
			publish(t, s.Hub, "a:"+strings.Repeat("\n", 64<<10))
		}
		q := query("a", "from", "start")
		for i := range 20 {
			q += fmt.Sprintf("&topic=x%d.b.c.d.e.f.g.h.i.j", i)
		}
		header := make([]string, 100)
		for i := range header {
			header[i] = fmt.Sprintf("X-%d", i)
		}
		var all sync.WaitGroup
		for i := range 24 {
			all.Go(func() {
				conn := s.dial(t)
				c, err := s.get(t.Context(), conn, q, header...)
				if err != nil {
					return // it was not admitted
				}
				switch i % 4 {
				case 0:
					conn.SetLinger(0)
				case 1:
					c.lines.Discard(1 << 10)
				case 2:
					c.lines.Discard(1 << 20)
				case 3:
					time.Sleep(time.Duration(i) * time.Millisecond)
				}
				conn.Close()
			})
		}
		for i := range 8 {
			ctx, cancel := context.WithCancel(t.Context())
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
			sub := hub.Subscription{Filters: manyFilters(i, 10), From: hub.FromStart()}
			if i%2 == 1 {
				sub.From = hub.FromCount(-1)
				sub.Format = 7 // refused
			}
			s.EventsHandler(r, sub)
			cancel() // nobody calls the handler
		}
		all.Wait()
		last := s.stream(t, q, header...)
		last.lines.Discard(64 << 10)
		s.Drain()
		last.conn.Close()
		s.vacated(t)
		for _, b := range s.Stats().Budgets {
			eventually(t, b.Name+" is given back", func() bool { return budgetOf(t, s.Hub, b.Name).Used == 0 })
		}
	})
}

// Streams that read steadily take turns when there is not room for all of them.
func TestCatchUpIsFair(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const messages = 20
		h := newHub(t, nil, &hub.Options{Window: 1, ClientBytes: 3 << 20})
		for range messages {
			publish(t, h, "a:"+strings.Repeat("\n", 40<<10))
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		var all []*reader
		for range 6 {
			seq, err := h.Texts(ctx, hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromStart()})
			if err != nil {
				t.Fatal(err)
			}
			r := new(reader)
			go r.texts(seq, func(int) { time.Sleep(500 * time.Millisecond) })
			all = append(all, r)
		}
		for range 1000 {
			time.Sleep(100 * time.Millisecond)
			least, most := messages, 0
			for i, r := range all {
				n, err, _ := r.got()
				if err != nil {
					t.Fatalf("stream %d: %v", i, err)
				}
				least, most = min(least, n), max(most, n)
			}
			if most-least > 3 {
				t.Errorf("one stream has got %d messages, and another one %d", most, least)
				break
			}
		}
		for i, r := range all {
			if n, err, _ := r.got(); n < messages || err != nil {
				t.Errorf("stream %d has got %d messages, %v", i, n, err)
			}
		}
		cancel()
		time.Sleep(time.Second)
	})
}
