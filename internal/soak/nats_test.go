//go:build unix

package soak_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/tidings/sse"
)

// Two nodes use one NATS server. A message published to either reaches the subscribers
// of both with the same id. A client of one node can resume on the other, whose streams
// take another path.
func TestNodesShareALog(t *testing.T) {
	urls := startNATS(t, buildNATS(t), 1)
	bothPaths(t, func(t *testing.T, p path) { testNodes(t, urls, p) })
}

func testNodes(t *testing.T, urls string, first path) {
	args := []string{"--nats", urls, "--nats-stream", fmt.Sprint("path", int(first))}
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
	res, err := http.Get("http://" + p.addr + "/metrics")
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

// buildNATS builds the NATS server of go.mod, and returns its path.
func buildNATS(t testing.TB) string {
	t.Helper()
	server := filepath.Join(t.TempDir(), "nats-server")
	build := exec.Command("go", "build", "-o", server, "github.com/nats-io/nats-server/v2")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return server
}

// startNATS starts n servers, which form a cluster if n > 1, and returns their URLs. The
// servers end with the test.
func startNATS(t testing.TB, program string, n int) string {
	t.Helper()
	var clients, routes, urls []string
	for range n {
		clients, routes = append(clients, freePort(t)), append(routes, freePort(t))
		urls = append(urls, "nats://"+clients[len(clients)-1])
	}
	for i := range n {
		host, port, _ := net.SplitHostPort(clients[i])
		args := []string{"-a", host, "-p", port, "-js", "-sd", t.TempDir(), "-n", fmt.Sprint("n", i)}
		if n > 1 {
			args = append(args, "--cluster_name", "bench", "--cluster", "nats://"+routes[i], "--routes", "nats://"+strings.Join(routes, ",nats://"))
		}
		cmd := exec.Command(program, args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
	}
	for _, addr := range clients {
		for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	if n > 1 {
		time.Sleep(5 * time.Second) // until the cluster has a leader; only benchmarks use a cluster
	}
	return strings.Join(urls, ",")
}

// freePort returns an address with a free port.
func freePort(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
