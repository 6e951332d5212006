package hub_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/streamtest"
	"example.com/tidings/topics"
)

// busyHubs return hubs that cannot take a stream.
var busyHubs = map[string]func(*testing.T) *hub.Hub{
	"at capacity": func(t *testing.T) *hub.Hub {
		h := newHub(t, nil, &hub.Options{MaxSubscribers: 1})
		subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		return h
	},
	"draining": func(t *testing.T) *hub.Hub {
		h := newHub(t, nil, nil)
		h.Drain()
		return h
	},
	"the log fails": func(t *testing.T) *hub.Hub {
		return newHub(t, statelessLog{eventlog.NewMemory(nil), new(atomic.Int32)}, nil)
	},
}

// A client that accepts event streams is told to try later by a stream, since an EventSource
// takes any other status for final, and everyone else by a status. The stream has the id of a
// client that sent one, stays open for a while, and breaks off. It takes no place.
func TestUnavailable(t *testing.T) {
	for name, busy := range busyHubs {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := busy(t)
				_, seats := h.Streams()
				s := serveHub(t, h, hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromStart()})
				waits := map[time.Duration]bool{}
				for range 20 {
					begin := time.Now()
					res := request(t, s, "GET", "Accept", "text/event-stream")
					if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("Cache-Control") != "no-cache" {
						t.Fatalf("an EventSource gets %s %v", res.Status, res.Header)
					}
					text := make([]byte, 128) // more than it is
					n, _ := res.Body.Read(text)
					if took := time.Since(begin); took > 0 {
						t.Errorf("the event comes after %v", took)
					}
					for _, wait := range streamtest.Retries(string(text[:n])) {
						waits[wait] = true
					}
					body := io.MultiReader(strings.NewReader(string(text[:n])), res.Body)
					(&wire{io.NopCloser(body), bufio.NewReader(body)}).unavailable(t, "", false)
					if took := time.Since(begin); took != 300*time.Millisecond {
						t.Errorf("it breaks off after %v", took)
					}
				}
				if len(waits) < 10 {
					t.Errorf("20 clients are told to wait for %v: all come back at once", waits)
				}
				if _, now := h.Streams(); now != seats {
					t.Errorf("%d places are taken, and were %d", now, seats)
				}
				for sent, want := range map[string]string{"0w3k7zq4m8tc-42": "E-42", "0W3K7ZQ4M8TC-42": "", "42": "", "\n": ""} {
					w := open(t, s, "Accept", "text/event-stream", "Last-Event-ID", strings.TrimSpace(sent))
					w.unavailable(t, want, false)
				}
				res := request(t, s, "GET", "Accept", "text/html, text/event-stream; q=0, */*")
				if wait, err := strconv.Atoi(res.Header.Get("Retry-After")); res.StatusCode != 503 || err != nil || wait < 2 || wait > 8 {
					t.Errorf("curl gets %s with Retry-After %q", res.Status, res.Header.Get("Retry-After"))
				}
				if h2 := res.ProtoMajor == 2; res.Close == h2 {
					t.Errorf("curl's connection closes: %v, over %s", res.Close, res.Proto)
				}
				res = request(t, s, "HEAD", "Accept", "text/event-stream")
				if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
					t.Errorf("HEAD gets %s %v", res.Status, res.Header)
				}
			})
		})
	}
}

// The answers that stay open have a bound. A client beyond it is told the same, and then the
// response breaks off at once.
func TestManyUnavailable(t *testing.T) {
	for subscribers, most := range map[int]int{0: 64, 96: 3, 10: 1} {
		t.Run(fmt.Sprint(subscribers), func(t *testing.T) { manyUnavailable(t, subscribers, most) })
	}
}

// manyUnavailable tests it with a hub for so many subscribers.
func manyUnavailable(t *testing.T, subscribers, most int) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, &hub.Options{MaxSubscribers: subscribers})
		h.Drain()
		s := serveHub(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		begin := time.Now()
		for range most {
			res := request(t, s, "GET", "Accept", "text/event-stream")
			if _, err := res.Body.Read(make([]byte, 128)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		open(t, s, "Accept", "text/event-stream").unavailable(t, "", false)
		if took := time.Since(begin); took != 0 {
			t.Errorf("one more stays open for %v", took)
		}
		time.Sleep(time.Second)
		begin = time.Now()
		open(t, s, "Accept", "text/event-stream").unavailable(t, "", false)
		if took := time.Since(begin); took != 300*time.Millisecond {
			t.Errorf("when they are over, another stays open for %v", took)
		}
	})
}

// A client that leaves ends its answer.
func TestUnavailableToWhoLeaves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		h.Drain()
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "GET", "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		begin := time.Now()
		h.Wait(r.Context())
		if took := time.Since(begin); took != 0 {
			t.Errorf("the answer stays open for %v", took)
		}
	})
}

// A statelessLog fails once a hub stands on it.
type statelessLog struct {
	eventlog.Log
	asked *atomic.Int32
}

func (l statelessLog) State(ctx context.Context) (eventlog.State, error) {
	if l.asked.Add(1) > 2 { // a hub that begins reads the window, and what is revoked
		return eventlog.State{}, errors.New("out of order")
	}
	return l.Log.State(ctx)
}
