//go:build unix

package soak_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"example.com/tidings/internal/natstest"
	"example.com/tidings/sse"
)

// Two nodes use one NATS server. A message published to either reaches the subscribers
// of both with the same id. A client of one node can resume on the other, whose streams
// take another path.
func TestNodesShareALog(t *testing.T) {
	url := natstest.Start(t).URL
	bothPaths(t, func(t *testing.T, p path) { testNodes(t, url, p) })
}

func testNodes(t *testing.T, url string, first path) {
	args := []string{"--nats", url, "--nats-stream", fmt.Sprint("path", int(first))}
	nodes := []*process{
		(&process{args: args, path: first}).serve(t),
		(&process{args: args, path: first.other()}).serve(t),
	}
	streams := []func() (sse.Event, error, bool){streamOn(t, nodes[0], "start", ""), streamOn(t, nodes[1], "start", "")}
	if runtime.GOOS == "linux" {
		for _, p := range nodes {
			if all, want := metrics(t, p), fmt.Sprintf("tidings_streams{path=%q} 1\n", p.path); !strings.Contains(all, want) {
				t.Errorf("the metrics of a node with a stream lack %s", want)
			}
		}
	}
	var ids []string
	for i := range 20 {
		id := publishOn(t, nodes[i%2], fmt.Sprint(i))
		ids = append(ids, id)
		for n, next := range streams {
			if ev, err, _ := next(); ev.Data != fmt.Sprint(i) || ev.ID != id || err != nil {
				t.Fatalf("message %d, which is %s, comes to node %d as %+v, %v", i, id, n, ev, err)
			}
		}
	}
	// The first node is gone. Its client continues on the other.
	nodes[0].kill()
	next := streamOn(t, nodes[1], "now", ids[9])
	for i := 10; i < 20; i++ {
		if ev, err, _ := next(); ev.Data != fmt.Sprint(i) || ev.ID != ids[i] || err != nil {
			t.Fatalf("after %s comes %+v, %v; want message %d", ids[9], ev, err, i)
		}
	}
	id := publishOn(t, nodes[1], "live")
	if ev, err, _ := next(); ev.Data != "live" || ev.ID != id || err != nil {
		t.Errorf("then comes %+v, %v", ev, err)
	}
}

// metrics returns the answer of GET /metrics.
func metrics(t *testing.T, p *process) string {
	t.Helper()
	res, err := http.Get("http://" + p.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// publishOn publishes to the topic orders.42, and returns the message's id.
func publishOn(t *testing.T, p *process, data string) string {
	t.Helper()
	res, err := http.Post("http://"+p.addr+"/topics/orders.42", "text/plain", strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var published struct{ ID string }
	if err := json.NewDecoder(res.Body).Decode(&published); err != nil || res.StatusCode != http.StatusCreated {
		t.Fatalf("%s, %v", res.Status, err)
	}
	return published.ID
}

// streamOn opens a stream and waits until it has begun. The stream ends with the test.
func streamOn(t *testing.T, p *process, from, lastEventID string) (next func() (sse.Event, error, bool)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addr+"/events?topic=orders.*&from="+from, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Last-Event-ID", lastEventID)
	tr := &http.Transport{}
	res, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	next, stop := iter.Pull2(sse.Decode(res.Body, nil))
	t.Cleanup(func() {
		cancel()
		stop()
		res.Body.Close()
		tr.CloseIdleConnections()
	})
	if ev, err, _ := next(); ev.Type != "tidings.open" || err != nil {
		t.Fatalf("first comes %+v, %v", ev, err)
	}
	return next
}
