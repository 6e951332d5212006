package frameworks

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/hub/stats"
)

// A client for Go whose program takes nothing for longer than the write timeout, while messages
// flow, is cut off in the middle of a message. It comes back with its id when the program goes on,
// and gets every message once.
func TestStoppedGoClientsReturn(t *testing.T) {
	padding := strings.Repeat("x", 32<<10) // two of these clients have buffers of 64 KiB
	for _, c := range goClients {
		for _, takeOver := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, take over %v", c.name, takeOver), func(t *testing.T) {
				t.Parallel()
				h, err := hub.New(t.Context(), eventlog.NewMemory(nil), &hub.Options{
					WriteTimeout: 300 * time.Millisecond, Retry: 50 * time.Millisecond, TakeOver: takeOver, Logger: slog.New(slog.DiscardHandler),
				})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { h.Close() })
				var mu sync.Mutex
				var ids, got []string // of the requests, and the messages
				api := httpapi.New(h, nil)
				srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					ids = append(ids, r.Header.Get("Last-Event-ID"))
					mu.Unlock()
					api.ServeHTTP(w, r)
				}))
				t.Cleanup(srv.Close)
				stopped, goOn, left := make(chan struct{}), make(chan struct{}), make(chan error, 1)
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					first := true
					left <- c.read(ctx, srv.URL+"/events?topic=a&from=start", func(text string) {
						label, rest, _ := strings.Cut(text, " ")
						if rest != padding {
							if !c.showsHalves {
								t.Errorf("the client shows %d of %d bytes of message %s", len(rest), len(padding), label)
							}
							return
						}
						mu.Lock()
						got = append(got, label)
						mu.Unlock()
						if first {
							first = false
							close(stopped)
							<-goOn
						}
					})
				}()
				release := sync.OnceFunc(func() { close(goOn) })
				t.Cleanup(func() { release(); cancel(); <-left })

				var published []string
				publish := func() {
					label := fmt.Sprint(len(published) + 1)
					if _, err := h.Publish(t.Context(), hub.Message{Topic: "a", Data: label + " " + padding}); err != nil {
						t.Fatal(err)
					}
					published = append(published, label)
				}
				publish()
				<-stopped
				soon(t, func() bool { // until the client is cut off
					for range 10 {
						if len(published) < 600 { // more than all buffers hold
							publish()
						}
					}
					return slices.ContainsFunc(h.Stats().Shards, func(s stats.Shard) bool { return s.Ends["write timeout"] > 0 })
				})
				release()
				publish()
				soon(t, func() bool {
					mu.Lock()
					defer mu.Unlock()
					return slices.Equal(got, published)
				})
				mu.Lock()
				defer mu.Unlock()
				if last := ids[len(ids)-1]; len(ids) < 2 || last == "" {
					t.Errorf("the requests ask for the messages after %q", ids)
				}
			})
		}
	}
}
