package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"example.com/tidings/internal/natstest"
)

// Two nodes share a log and stand behind nginx with its recipe. Each is stopped and started
// again, in turn. Meanwhile messages with keys are published. None fails, and each is
// stored once.
func TestPublishesPassWhileNodesRestart(t *testing.T) {
	t.Parallel()
	program(t, nginx.programs...)
	nats := natstest.Start(t)
	node := func(addr string) *process { return startProcess(t, t.TempDir(), addr, "--nats", nats.URL) }
	nodes := []*process{node("127.0.0.1:0"), node("127.0.0.1:0")}
	url := startProxy(t, nginx, nodes[0].URL, andNode(nodes[1].URL))

	ids := make([][]string, 4) // for each publisher
	var stored atomic.Int64
	var publishers sync.WaitGroup
	defer publishers.Wait()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for i := range ids {
		publishers.Go(func() { ids[i] = publishUntil(ctx, t, url, fmt.Sprint("publisher-", i), &stored) })
	}
	more := func() {
		enough := stored.Load() + 20
		eventually(t, "more messages are stored", func() bool { return stored.Load() >= enough })
	}
	for range 3 {
		for i, n := range nodes {
			more()
			n.end(syscall.SIGTERM)
			if code := n.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("a node exits with %d\n%s", code, &n.stderr)
			}
			more()
			nodes[i] = node(n.addr())
		}
	}
	stop()
	publishers.Wait()

	for i, want := range ids {
		topic := fmt.Sprint("publisher-", i)
		if got := storedIDs(t, url, topic); !slices.Equal(got, want) {
			t.Errorf("%s: %d messages are stored, %d acknowledged:\n%q\n%q", topic, len(got), len(want), got, want)
		}
	}
}

// publishUntil publishes to a topic until the context is done. Each message has a key of
// its own. It counts them in stored, and returns the ids in the answers. It may be called
// from any goroutine.
func publishUntil(ctx context.Context, t *testing.T, url, topic string, stored *atomic.Int64) (ids []string) {
	t.Helper()
	for i := 0; ctx.Err() == nil; i++ {
		key := fmt.Sprint(topic, "-", i)
		status, body, _ := request(t, http.MethodPost, url+"/topics/"+topic, http.Header{"Idempotency-Key": {key}})
		var answer struct{ ID string }
		if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusCreated && status != http.StatusOK {
			t.Errorf("publish %d to %s: %d %q", i, topic, status, body)
			return ids
		}
		ids = append(ids, answer.ID)
		stored.Add(1)
	}
	return ids
}

// storedIDs returns the ids of a topic's messages.
func storedIDs(t *testing.T, url, topic string) (ids []string) {
	t.Helper()
	for after := ""; ; {
		status, body, _ := request(t, http.MethodGet, url+"/topics/"+topic+"/events?limit=1000&after="+after, nil)
		var page struct {
			Events []struct{ ID string }
			Next   string
			More   bool
		}
		if err := json.NewDecoder(strings.NewReader(body)).Decode(&page); err != nil || status != http.StatusOK {
			t.Fatalf("the history of %s: %d %.200q (%v)", topic, status, body, err)
		}
		for _, ev := range page.Events {
			ids = append(ids, ev.ID)
		}
		if after = page.Next; !page.More {
			return ids
		}
	}
}
