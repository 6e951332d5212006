package segmentlog

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/topics"
)

// slowly makes each sync of a file system take a while, and counts them.
func slowly(files *faulty, sync time.Duration) *atomic.Int64 {
	var n atomic.Int64
	files.set(func(call, name string) error {
		if call == "sync" {
			n.Add(1)
			time.Sleep(sync)
		}
		return nil
	})
	return &n
}

// warnings returns a logger, and what it has logged of the level of a warning and above.
func warnings() (*slog.Logger, *lockedBuffer) {
	var b lockedBuffer
	return slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelWarn})), &b
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// bubble runs a test in a bubble of time. Outside it, requests have channels that the bubble
// may not use.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	anew := func() { requests = sync.Pool{New: requests.New} }
	anew()
	defer anew()
	synctest.Test(t, f)
}

// A slow disk is not a broken one. Publishers share a sync, so that it slows a group and not
// each message. Nothing is refused or lost, and nobody is warned. The time is that of a bubble.
func TestSlowDisk(t *testing.T) {
	const publishers, each = 64, 10
	for _, sync := range []time.Duration{20 * time.Millisecond, 200 * time.Millisecond} {
		for _, interval := range []time.Duration{0, time.Second} {
			t.Run(fmt.Sprintf("%v, interval %v", sync, interval), func(t *testing.T) {
				dir := t.TempDir()
				want := map[uint64]string{}
				logger, logged := warnings()
				bubble(t, func(t *testing.T) {
					files := &faulty{}
					l := opened(t, Options{Dir: dir, Sync: interval, files: files, Logger: logger, segmentBytes: 64 << 10})
					syncs := slowly(files, sync)
					start := time.Now()
					publishSlowly(t, l, publishers, each, want)
					took, n := time.Since(start), syncs.Load()
					t.Logf("%d messages: %d syncs, %v", len(want), n, took)
					// Half of the publishers wait while the others' group is synced.
					if most := 4 * each * sync; took > most {
						t.Errorf("%d messages took %v, more than %v", len(want), took, most)
					}
					if interval > 0 && took > 0 {
						t.Errorf("with an interval, publishers waited %v", took)
					}
					wantAll(t, l, want)
					if l.Err() != nil {
						t.Error(l.Err())
					}
					closeLog(t, l)
				})
				if logged.String() != "" {
					t.Errorf("the log says:\n%s", logged)
				}
				l := opened(t, Options{Dir: dir})
				wantAll(t, l, want)
				closeLog(t, l)
			})
		}
	}
}

// publishSlowly appends messages from several goroutines, and adds them to want.
func publishSlowly(t *testing.T, l *Log, publishers, each int, want map[uint64]string) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range publishers {
		all.Go(func() {
			for k := range each {
				data := fmt.Sprint(i, k, strings.Repeat("x", 300))
				a := l.Append(t.Context(), []eventlog.Message{{Topic: "a", Data: data}})[0]
				if a.Err != nil {
					t.Errorf("Append: %v", a.Err)
				}
				mu.Lock()
				want[a.ID.Seq] = data
				mu.Unlock()
			}
		})
	}
	all.Wait()
}

// Only the deadline of HTTP ends waiting for a slow disk: the publisher is told that the
// message is not confirmed. The log stores it, and goes on.
func TestSyncThatOutlastsTheDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		files := &faulty{}
		logger, logged := warnings()
		l := opened(t, Options{files: files, Logger: logger})
		h, err := hub.New(context.Background(), l, &hub.Options{Logger: logger})
		if err != nil {
			t.Fatal(err)
		}
		api := httpapi.New(h, &httpapi.Options{Logger: logger})
		post := func(data string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			api.ServeHTTP(w, httptest.NewRequest("POST", "/topics/a", strings.NewReader(data)))
			return w
		}
		slowly(files, 15*time.Second)
		start := time.Now()
		w := post("slow")
		if took := time.Since(start); w.Code != 503 || !strings.Contains(w.Body.String(), "unconfirmed") || w.Header().Get("Retry-After") == "" || took != 10*time.Second {
			t.Errorf("%d after %v: %s", w.Code, took, w.Body)
		}
		files.set(nil)
		if w := post("fast"); w.Code != 201 { // after the slow one
			t.Errorf("the next message: %d %s", w.Code, w.Body)
		}
		b, err := l.Read(t.Context(), eventlog.Query{Filters: topics.MustFilters("a"), UpTo: 2, MaxRecords: 9, MaxBytes: 99})
		if err != nil || len(b.Records) != 2 || b.Records[0].Data != "slow" || b.Records[1].Data != "fast" {
			t.Errorf("the log has %+v, %v", b.Records, err)
		}
		if h.Err() != nil {
			t.Error(h.Err())
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if s := logged.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, "did not confirm a message in time") {
			t.Errorf("logged is\n%s", s)
		}
	})
}
