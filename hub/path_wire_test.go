package hub_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/sse"
)

// The whole of a stream, byte for byte.
func TestPathOnTheWire(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		s := p.station(t, nil, nil, nil)
		s.publishSeen(t, "orders.1:before")
		c := s.stream(t, query("orders.* x"))
		c.want(t, onTheWire.open)
		publishAll(t, s.Hub, onTheWire.messages)
		for _, want := range onTheWire.data {
			c.want(t, want)
		}
		s.Drain()
		if id := s.ended(t, c, hub.EndStopping); id != "E-8" && p != iterator {
			t.Errorf("the last event has the id %s", id)
		}
		if p != http10 && c.res.ProtoMajor == 1 && !slices.Equal(c.res.TransferEncoding, []string{"chunked"}) {
			t.Errorf("the body is %q: its end cannot be told from a broken one", c.res.TransferEncoding)
		}
	})
}

func TestPathEnvelope(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		s := p.station(t, stoppedLog{eventlog.NewMemory(nil)}, nil, nil)
		before := publish(t, s.Hub, "a:before")
		untilHead(s.Hub, 1)
		c := s.stream(t, query("**", "format", "envelope"), "Last-Event-ID", before[0])
		c.want(t, "event: tidings.open\nretry: R\ndata: {\"topics\":[\"**\"],\"position\":\"E-1\",\"keepAlive\":15000}\nid: E-1\n\n")
		publish(t, s.Hub, "a.b:<&> \"q\"\nline\rCR", "c:")
		s.Publish(t.Context(), hub.Message{Topic: "d", Type: "status", Data: `{"n":1}`})
		c.want(t, `data: {"id":"E-2","topic":"a.b","type":"message","data":"<&> \"q\"\nline\rCR","time":"2000-01-01T00:00:02Z"}`+"\nid: E-2\n\n")
		c.want(t, `data: {"id":"E-3","topic":"c","type":"message","data":"","time":"2000-01-01T00:00:03Z"}`+"\nid: E-3\n\n")
		c.want(t, `data: {"id":"E-4","topic":"d","type":"status","data":"{\"n\":1}","time":"2000-01-01T00:00:04Z"}`+"\nid: E-4\n\n")
		// From the log it is the same.
		again := s.stream(t, query("d", "format", "envelope", "from", "start"))
		again.opened(t).want(t, `data: {"id":"E-4","topic":"d","type":"status","data":"{\"n\":1}","time":"2000-01-01T00:00:04Z"}`+"\nid: E-4\n\n")
	})
}

// What a middleware has put into the header is in it, and what the stream needs.
func TestPathHeader(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		s := p.station(t, nil, nil, func(srv *http.Server) {
			inner := srv.Handler
			srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h := w.Header()
				h.Set("Access-Control-Allow-Origin", "https://example.com")
				h.Add("Set-Cookie", "a=1; HttpOnly")
				h.Add("Set-Cookie", "b=2")
				h.Add("Vary", "Origin")
				h.Add("Vary", "Accept")
				h.Set("X-Request-Id", "r-1")
				h.Set("X-Split", "one\r\nX-Injected: two")
				h.Set("Cache-Control", "no-store")
				h.Set("Content-Type", "text/plain")
				h.Set("Content-Length", "17")
				h.Set("Transfer-Encoding", "identity")
				inner.ServeHTTP(w, r)
			})
		})
		res := s.stream(t, query("a")).opened(t).res
		got := res.Header
		if at, err := http.ParseTime(got.Get("Date")); err != nil || time.Since(at).Abs() > time.Minute {
			t.Errorf("Date: %q", got.Get("Date"))
		}
		want := http.Header{
			"Access-Control-Allow-Origin": {"https://example.com"}, "Set-Cookie": {"a=1; HttpOnly", "b=2"},
			"Vary": {"Origin", "Accept"}, "X-Request-Id": {"r-1"}, "X-Split": {"one  X-Injected: two"},
			"Cache-Control": {"no-store"}, "Content-Type": {"text/event-stream"}, "X-Accel-Buffering": {"no"},
		}
		got.Del("Date")
		if c := s.path; c == h2c || c == h2 {
			delete(want, "X-Split") // net/http drops it
		}
		if !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("the header is\n%v\nwant\n%v", got, want)
		}
		if p == takenOver && res.Close {
			t.Error("it says Connection: close: the fetch of Node does not see that it breaks off")
		}
	})
}

// A stoppedLog's clock is its sequence numbers: a message is stored a second after the
// one before.
type stoppedLog struct{ eventlog.Log }

func (l stoppedLog) at(rec eventlog.Record) eventlog.Record {
	rec.Time = time.Date(2000, 1, 1, 0, 0, int(rec.Seq), 0, time.UTC)
	return rec
}

func (l stoppedLog) Tail(ctx context.Context, generation, after uint64) iter.Seq2[[]eventlog.Record, error] {
	return func(yield func([]eventlog.Record, error) bool) {
		for records, err := range l.Log.Tail(ctx, generation, after) {
			for i := range records {
				records[i] = l.at(records[i])
			}
			if !yield(records, err) {
				return
			}
		}
	}
}

func (l stoppedLog) Read(ctx context.Context, q eventlog.Query) (eventlog.Batch, error) {
	b, err := l.Log.Read(ctx, q)
	for i := range b.Records {
		b.Records[i] = l.at(b.Records[i])
	}
	return b, err
}

func (l stoppedLog) At(ctx context.Context, t time.Time) (uint64, error) {
	state, err := l.State(ctx)
	seq := state.First
	for seq <= state.Last && l.at(eventlog.Record{Seq: seq}).Time.Before(t) {
		seq++
	}
	return seq, err
}

// Where a stream begins, from the window and from the log, by from and by the header.
func TestPathWhereAStreamBegins(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		for where, window := range map[string]int{"window": 100, "log": 1} {
			s := p.station(t, stoppedLog{eventlog.NewMemory(nil)}, &hub.Options{Window: window}, nil)
			ids := append([]string{""}, publish(t, s.Hub, beforeASubscription...)...)
			first, _ := eventlog.ParsePosition(ids[1])
			ids[0] = eventlog.Position{Epoch: first.Epoch}.String()
			untilHead(s.Hub, 6)
			for _, tt := range whereASubscriptionIs {
				for _, by := range []string{"from", "Last-Event-ID"} {
					if by != "from" && !strings.HasPrefix(tt.from, "$") {
						continue
					}
					t.Run(fmt.Sprintf("%s, %s, by %s in the %s", tt.rule, tt.topics, by, where), func(t *testing.T) {
						from := tt.from
						if n, ok := strings.CutPrefix(from, "$"); ok {
							from = ids[n[0]-'0']
						}
						var c *client
						if by == "from" {
							c = s.stream(t, query(tt.topics, "from", from))
						} else {
							c = s.stream(t, query(tt.topics, "from", "start"), "Last-Event-ID", from)
						}
						c.opened(t).expect(t, data(strings.Fields(tt.want))...)
						defer c.conn.Close()
						// One that asks for none of it is told where the others are.
						if tt.want == "" {
							return
						}
						last := c.id
						again := s.stream(t, query(tt.topics), "Last-Event-ID", last).opened(t)
						defer again.conn.Close()
						if again.id != last {
							t.Errorf("after %s it begins at %s", last, again.id)
						}
					})
				}
			}
			// Each of them goes on with what is published next.
			var all []*client
			for _, tt := range whereASubscriptionIs {
				if strings.HasPrefix(tt.from, "$") {
					continue
				}
				all = append(all, s.stream(t, query(tt.topics+" live", "from", tt.from)).opened(t))
			}
			live := publish(t, s.Hub, "un.re.lated:0", "live:1")
			for i, c := range all {
				for ev := c.event(t); ev.ID != live[1]; ev = c.event(t) {
					if ev.Data == "1" && ev.ID > ids[6] {
						t.Errorf("stream %d gets %+v", i, ev)
					}
				}
			}
		}
	})
}

// An id with which the hub can do nothing makes a gap, and the stream goes on at a
// place that the gap names.
func TestPathIDsThatMakeAGap(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		for _, tt := range idsThatMakeAGap {
			t.Run(tt.name, func(t *testing.T) {
				s := p.station(t, nil, nil, nil)
				ids := publish(t, s.Hub, "a:1", "a:2", "a:3")
				untilHead(s.Hub, 3)
				last, _ := eventlog.ParsePosition(ids[2])
				id := strings.NewReplacer("$E", last.Epoch, "\x7f", "").Replace(tt.id)
				c := s.stream(t, query("a", "from", tt.from), "Last-Event-ID", id)
				open := c.event(t)
				ev := c.event(t)
				gap, ok := ev.gap()
				if !ok || gap.Reason != tt.reason || gap.Missed != 0 || ev.ID != gap.Next {
					t.Fatalf("first comes %+v, want a gap of the reason %s", ev, tt.reason)
				}
				if strings.ContainsFunc(id, func(r rune) bool { return r > '~' }) {
					if gap.After != "" || open.ID != "unknown" {
						t.Errorf("the gap is after %q, and the stream begins at %q", gap.After, open.ID)
					}
				} else if gap.After != id || open.ID != id {
					t.Errorf("the gap is after %q, and the stream begins at %q, want %q", gap.After, open.ID, id)
				}
				c.expect(t, data(strings.Fields(tt.want))...)
				publish(t, s.Hub, "a:4")
				c.expect(t, "4")
				again := s.stream(t, query("a"), "Last-Event-ID", gap.Next).opened(t)
				again.expect(t, data(strings.Fields(tt.want))...)
				again.expect(t, "4")
			})
		}
	})
}

// A client that cannot send the header has its id in the URL. The header wins over that, and that
// over where the stream would begin. A library that appends the parameter to a URL that has it
// means the last one.
func TestPathLastEventIDOfTheURL(t *testing.T) {
	on(t, ownPaths, func(t *testing.T, p path) {
		s := p.station(t, nil, nil, nil)
		ids := publish(t, s.Hub, "a:1", "a:2", "a:3")
		untilHead(s.Hub, 3)
		for _, tt := range []struct{ query, header, want string }{
			{"topic=a&lastEventId=" + ids[0], "", "2"},
			{"topic=a&from=start&lastEventId=" + ids[1], "", "3"},
			{"topic=a&from=start&lastEventId=" + ids[0] + "&lastEventId=" + ids[1], "", "3"},
			{"topic=a&from=start&lastEventId=", "", "1"},
			{"topic=a&lastEventId=" + ids[0], ids[1], "3"},
			{"topic=a&lastEventId=x", ids[1], "3"},
			{"topic=a&lastEventId=x", "", "gap malformed 0"},
			{"topic=a&lastEventId=" + ids[0], "x", "gap malformed 0"},
		} {
			var header []string
			if tt.header != "" {
				header = []string{"Last-Event-ID", tt.header}
			}
			s.stream(t, tt.query, header...).opened(t).expect(t, tt.want)
		}
	})
}

// Who comes back after retention has passed is told so, and goes on with the rest.
func TestPathExpiredID(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		const kept = 1000
		s := p.station(t, eventlog.NewMemory(&eventlog.MemoryOptions{MaxBytes: kept * entrySize}), &hub.Options{Window: 4}, nil)
		ids := publish(t, s.Hub, numbered("a", "", 3*kept)...)
		untilHead(s.Hub, 3*kept)
		c := s.stream(t, query("a"), "Last-Event-ID", ids[9]).opened(t)
		gap, ok := c.event(t).gap()
		if !ok || gap.Reason != sse.GapExpired || gap.Missed != 0 || gap.After != ids[9] {
			t.Fatalf("first comes %+v", gap)
		}
		next := slices.Index(ids, gap.Next) + 1
		if next < kept || next > 3*kept-kept/2 {
			t.Fatalf("it goes on with message %d", next)
		}
		c.expect(t, data(numbered("a", "", 3*kept))[next:]...)
		publish(t, s.Hub, "a:live")
		c.expect(t, "live")
	})
}

// An id from another node is no gap, even if this one has not come so far; and now is
// after what this one has acknowledged.
func TestPathWhatOnlyTheLogKnows(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		log := &heldLog{Log: eventlog.NewMemory(nil)}
		s := p.station(t, log, nil, nil)
		log.hold()
		ids := publish(t, s.Hub, "a:1", "a:2", "a:3")
		behind := s.stream(t, query("a"), "Last-Event-ID", ids[1]).opened(t)
		now := s.stream(t, query("a")).opened(t)
		publish(t, s.Hub, "a:4")
		log.release()
		behind.expect(t, "3", "4")
		now.expect(t, "4")
		publish(t, s.Hub, "a:5")
		behind.expect(t, "5")
		now.expect(t, "5")
	})
}
