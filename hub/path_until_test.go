package hub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/topics"
)

// A stream that has a time at which it ends gets nothing after that but its last event. If
// nothing more will follow, the response is complete, and otherwise it breaks off. A stream that
// is stalled or reads from the log at that time ends, too.
func TestPathUntil(t *testing.T) {
	const soon = time.Second // a busy machine needs some time until the stream is what it has to be
	on(t, everyPath, func(t *testing.T, p path) {
		for _, reason := range []string{hub.EndFinished, hub.EndExpired} {
			for _, state := range []string{"live", "stalled", "reading from the log"} {
				if state != "live" && p == iterator {
					continue // its consumer is a handler that the hub does not know
				}
				t.Run(state+", "+reason, func(t *testing.T) {
					t.Parallel()
					var s *station
					begin := time.Now()
					s = p.station(t, nil, &hub.Options{Window: 2}, func(srv *http.Server) {
						srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							s.serveUntil(w, r, time.Now().Add(soon), reason)
						})
					})
					s.publishSeen(t, large("big", "", 800)...)
					from := "now"
					if state == "reading from the log" {
						from = "start"
					}
					c := s.stream(t, query("a big", "from", from)).opened(t)
					if state == "stalled" {
						s.stall(t, c, "a")
					}
					if state != "live" { // it reads on when it is over
						s.vacated(t)
						rest, err := io.ReadAll(c.lines)
						if err == nil && p.seesBreak() || strings.Contains(string(rest), hub.EndEventType) {
							t.Errorf("who does not take the last event gets a clean end, %v, after %.50q", err, rest[max(0, len(rest)-50):])
						}
						return
					}
					publish(t, s.Hub, "a:1")
					c.expect(t, "1")
					if id := s.ended(t, c, reason); id != fmt.Sprintf("E-%d", s.Head()) && p != iterator {
						t.Errorf("it ends with the id %s", id)
					}
					if took := time.Since(begin); took < soon {
						t.Errorf("it ends after %v", took)
					}
					s.vacated(t)
					ended := uint64(0)
					for _, shard := range s.Stats().Shards {
						ended += shard.Ends[reason]
					}
					if ended != 1 {
						t.Errorf("%+v", s.Stats())
					}
				})
			}
		}
	})
}

// serveUntil serves a stream that ends at a time.
func (s *station) serveUntil(w http.ResponseWriter, r *http.Request, at time.Time, reason string) {
	from, _ := hub.ParseFrom(r.URL.Query().Get("from"))
	s.serveSub(w, r, hub.Subscription{Filters: topics.MustFilters(r.URL.Query()["topic"]...), From: from}.Ending(at, reason))
}

// The deadline of the context given to ServeEvents ends the stream on every path, and the client is
// told: as in advance. The end of the context for another reason counts where the handler has not
// left, and a client that leaves is noticed before the deadline.
func TestPathDeadline(t *testing.T) {
	on(t, ownPaths, func(t *testing.T, p path) {
		const soon = time.Second
		for name, tt := range map[string]struct {
			deadline, until time.Duration // of the context, and of the subscription, or 0
			reason          string
		}{
			"the deadline":      {soon, 0, hub.EndExpired},
			"the earlier one":   {soon, time.Hour, hub.EndExpired},
			"the subscription":  {time.Hour, soon, hub.EndExpired},
			"none of them soon": {time.Hour, 2 * time.Hour, ""},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var s *station
				ctxs := make(chan context.CancelFunc, 1)
				s = p.station(t, nil, nil, func(srv *http.Server) {
					srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						ctx, cancel := context.WithTimeout(r.Context(), tt.deadline)
						ctxs <- cancel
						sub := hub.Subscription{Filters: topics.MustFilters("a")}
						if tt.until > 0 {
							sub.Until = time.Now().Add(tt.until)
						}
						s.ServeEvents(w, r.WithContext(ctx), sub)
					})
				})
				begin := time.Now()
				c := s.stream(t, query("a"))
				cancel := <-ctxs
				var open struct{ ExpiresIn *int64 }
				if ev := c.event(t); json.Unmarshal([]byte(ev.Data), &open) != nil || open.ExpiresIn == nil || (*open.ExpiresIn < 2) != (tt.reason != "") {
					t.Errorf("the first event is %+v", ev)
				}
				publish(t, s.Hub, "a:1")
				c.expect(t, "1")
				if tt.reason != "" {
					s.ended(t, c, tt.reason)
					if took := time.Since(begin); took < soon {
						t.Errorf("it ends after %v", took)
					}
					s.vacated(t)
					cancel()
					return
				}
				c.conn.Close()
				s.vacated(t)
				c = s.stream(t, query("a")).opened(t)
				cancel = <-ctxs
				cancel()
				if p != takenOver { // its handler has returned
					if rest, err := io.ReadAll(c.lines); err == nil && p.seesBreak() || strings.Contains(string(rest), hub.EndEventType) {
						t.Errorf("a canceled context ends the stream with %q, %v", rest, err)
					}
					s.vacated(t)
					return
				}
				publish(t, s.Hub, "a:2")
				c.expect(t, "2")
			})
		}
	})
}

// Streams do not all end at once: one ends up to a tenth of its life after its time, and at most 30
// seconds.
func TestEndsAreSpread(t *testing.T) {
	for life, most := range map[time.Duration]time.Duration{
		-time.Hour: 0, 0: 0, time.Second: time.Second / 10, time.Minute: 6 * time.Second, time.Hour: 30 * time.Second, 24 * time.Hour: 30 * time.Second,
	} {
		until := time.Now().Add(life)
		least, latest := time.Hour, time.Duration(0)
		for range 1000 {
			later := hub.Subscription{Until: until}.EndsAt().Sub(until)
			least, latest = min(least, later), max(latest, later)
		}
		if least < 0 || latest > most || latest-least < most*9/10 {
			t.Errorf("after a life of %v, streams end %v to %v later", life, least, latest)
		}
	}
}
