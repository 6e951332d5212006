package server_test

import (
	"io"
	"runtime"
	"strings"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/stats"
	"example.com/tidings/internal/server"
)

// metrics returns what the operator sees.
func (r *running) metrics(t *testing.T) string {
	t.Helper()
	got := send(t, client(t, "HTTP/1.1"), "GET", r.AdminURL()+"/metrics", nil)
	if got.status != 200 {
		t.Fatalf("GET /metrics: %d %s", got.status, got.body)
	}
	return got.body
}

// The metrics show the path of each stream and the work of each shard.
func TestMetrics(t *testing.T) {
	for _, takeOver := range []bool{false, true} {
		if takeOver && runtime.GOOS != "linux" {
			continue
		}
		s := startOn(t, server.Config{}, eventlog.NewMemory(nil), hub.Options{TakeOver: takeOver})
		c := client(t, "HTTP/1.1")
		res := get(t, c, s.url+"/events?topic=orders")
		defer res.Body.Close()
		if _, err := io.ReadFull(res.Body, make([]byte, len("event: tidings.open"))); err != nil {
			t.Fatal(err)
		}
		paths := s.hub.Stats().Paths
		if takeOver != (paths[stats.PathTakenOver].Streams == 1) || takeOver != (paths[stats.PathNetHTTP].Streams == 0) {
			t.Errorf("take over %v: %+v", takeOver, paths)
		}
		got := send(t, c, "GET", s.AdminURL()+"/metrics", nil)
		if got.status != 200 || !strings.HasPrefix(got.header.Get("Content-Type"), "text/plain") {
			t.Fatalf("%d %s", got.status, got.header.Get("Content-Type"))
		}
		want := []string{
			"tidings_subscribers 1", `tidings_streams{path="net/http"} 1`, `tidings_streams{path="taken over"} 0`,
			`tidings_streams_begun_total{path="net/http"} 1`, "go_goroutines ", "tidings_invalid_messages_total 0", "tidings_log_failed 0",
		}
		if takeOver {
			want = []string{
				"tidings_subscribers 1", `tidings_streams{path="net/http"} 0`, `tidings_streams{path="taken over"} 1`,
				`tidings_streams_begun_total{path="taken over"} 1`, `tidings_delivery_streams{shard="0"}`,
				`tidings_delivery_ends_total{reason="client left",shard="0"} 0`, "process_open_fds ",
			}
		}
		for _, line := range want {
			if !strings.Contains(got.body, line) {
				t.Errorf("take over %v: %q is not among the metrics:\n%s", takeOver, line, got.body)
			}
		}
	}
}

// measured is a log with figures.
type measured struct{ eventlog.Log }

func (measured) Stats() eventlog.Stats { return eventlog.Stats{Bytes: 300, Verified: 200, Lost: 7} }

// The figures of a log that has some are among the metrics.
func TestMetricsOfTheLog(t *testing.T) {
	for _, has := range []bool{true, false} {
		log := eventlog.Log(eventlog.NewMemory(nil))
		if has {
			log = measured{log}
		}
		s := startOn(t, server.Config{}, log, hub.Options{})
		got := s.metrics(t)
		for _, line := range []string{"\ntidings_log_bytes 300\n", "\ntidings_log_verified_bytes 200\n", "\ntidings_log_lost_messages 7\n"} {
			if strings.Contains(got, line) != has {
				t.Errorf("with figures %v: %q is among the metrics: %v", has, line, !has)
			}
		}
	}
}
