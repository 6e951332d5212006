package hub_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/internal/memhttp"
	"example.com/tidings/internal/streamtest"
	"example.com/tidings/topics"
)

// serveFor serves streams of a topic that end after a second.
func serveFor(t *testing.T, h *hub.Hub, topic string) *memhttp.Server {
	t.Helper()
	return memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeEvents(w, r, hub.Subscription{Filters: topics.MustFilters(topic)}.Ending(time.Now().Add(time.Second), hub.EndExpired))
	}), nil)
}

// A client whose stream ends before it has read of a gap has its own id still, and so is told
// of the gap when it comes back. Nothing of the stream is skipped.
func TestEndBeforeTheGap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		ids := publish(t, h, "a:1", "a:2", "a:3")
		synctest.Wait()
		s := serveFor(t, h, "a")
		for _, tt := range []struct{ sent, id string }{
			{"17", "17"},
			{"000000000000-7", "E-7"}, // of another log
			{ids[0], "E-1"},           // no gap
		} {
			w := open(t, s, "Last-Event-ID", tt.sent)
			time.Sleep(time.Second + 200*time.Millisecond) // it reads nothing before the end
			w.wantPrefix(t, "event: tidings.open\n")
			if id := w.end(t, hub.EndExpired, false); id != tt.id {
				t.Errorf("a client with the id %s has the id %s in the end, want %s", tt.sent, id, tt.id)
			}
		}
	})
}

// The last event of a quiet stream has the position up to which the stream misses nothing.
func TestEndOfAQuietStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		w := open(t, serveFor(t, h, "quiet"))
		w.wantPrefix(t, "event: tidings.open\n")
		publish(t, h, numbered("busy", "", 30)...)
		if id := w.end(t, hub.EndExpired, false); id != "E-30" {
			t.Errorf("the stream ends with the id %s", id)
		}
	})
}

// Each stream is told a time of its own to come back after, so that the clients of a hub that
// dies or stops do not all come at once.
func TestRetriesVary(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, &hub.Options{Retry: 10 * time.Second})
		s := serveFor(t, h, "a")
		var all []*wire
		for range 20 {
			all = append(all, open(t, s))
		}
		for range 2 { // tidings.open and tidings.end
			waits := map[time.Duration]bool{}
			for _, w := range all {
				for _, wait := range streamtest.Retries(w.event(t)) {
					waits[wait] = true
					if wait < 10*time.Second || wait > 20*time.Second {
						t.Errorf("a client is told to wait for %v", wait)
					}
				}
			}
			if len(waits) < 10 {
				t.Errorf("20 clients are told to wait for %v", waits)
			}
		}
	})
}
