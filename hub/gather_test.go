package hub_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/hub"
)

// A flushWriter notes what was flushed, and in how many writes.
type flushWriter struct {
	header http.Header

	mu      sync.Mutex
	written bytes.Buffer
	flushed int // bytes of written
	writes  int
}

func (w *flushWriter) Header() http.Header { return w.header }
func (w *flushWriter) WriteHeader(int)     {}

func (w *flushWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes++
	return w.written.Write(b)
}

func (w *flushWriter) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushed = w.written.Len()
}

// state returns what was flushed, and the number of writes.
func (w *flushWriter) state() (string, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written.String()[:w.flushed], w.writes
}

// A subscriber that catches up gets many events in a write, from the window as from
// the log, and nothing is held back from one that waits.
func TestEventsAreWrittenTogether(t *testing.T) {
	const messages = 1000
	for name, window := range map[string]int{"window": 2 * messages, "log": 1} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHub(t, nil, &hub.Options{Window: window, KeepAlive: 10 * time.Second})
				ids := publish(t, h, numbered("a", strings.Repeat("x", 50), messages)...)
				publish(t, h, "b:large "+strings.Repeat("y", 100_000), "b:after")
				synctest.Wait()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
				w := &flushWriter{header: http.Header{}}
				done := make(chan error)
				go func() {
					done <- h.ServeEvents(w, r, hub.Subscription{Topics: []string{"a", "b"}, From: hub.FromStart()})
				}()
				synctest.Wait()

				_, got, _ := strings.Cut(first(w.state()), "\n\n") // after tidings.open
				var want strings.Builder
				for i, id := range ids {
					fmt.Fprintf(&want, "data: %s%d\nid: %s\n\n", strings.Repeat("x", 50), i, id)
				}
				if !strings.HasPrefix(got, want.String()) || !strings.Contains(got, "data: after\n") {
					t.Fatalf("%d bytes are flushed, which are not the messages", len(got))
				}
				before, writes := w.state()
				if writes > 40 {
					t.Errorf("%d events took %d writes", messages, writes)
				}

				for i := range 3 { // each alone
					id := publish(t, h, "a:live")[0]
					synctest.Wait()
					now, n := w.state()
					if want := "data: live\nid: " + id + "\n\n"; now != before+want || n != writes+1 {
						t.Fatalf("live %d: flushed is %q in %d writes", i, strings.TrimPrefix(now, before), n-writes)
					}
					before, writes = now, n
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if now, _ := w.state(); now != before+": keep-alive\n" {
					t.Errorf("then comes %q", strings.TrimPrefix(now, before))
				}
				cancel()
				<-done
			})
		})
	}
}

func first(s string, _ int) string { return s }
