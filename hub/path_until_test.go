package hub_test

import (
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
							s.serveUntil(w, r, time.Now().Add(300*time.Millisecond), reason)
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
					if took := time.Since(begin); took < 300*time.Millisecond {
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
