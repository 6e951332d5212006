package jetlog_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/jetlog"
)

// startCluster starts three servers.
func startCluster(t *testing.T) []*natsServer {
	t.Helper()
	var routes []string
	for range 3 {
		routes = append(routes, "nats://"+freeAddress(t))
	}
	servers := make([]*natsServer, 3)
	for i := range servers {
		servers[i] = startNATS(t, "-n", fmt.Sprintf("n%d", i), "-cluster_name", "c", "-cluster", routes[i], "-routes", strings.Join(routes, ","))
	}
	return servers
}

// The leader of a replicated stream is killed while two nodes append messages with keys,
// and append failed ones again. Every message is stored once, the messages of each node in
// their order, and the tail of each node has all of them.
func TestCluster(t *testing.T) {
	servers := startCluster(t)
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.url)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	opts := jetlog.ClusterOptions{URL: strings.Join(urls, ","), Replicas: 3, Logger: quiet(t)}
	var logs []*jetlog.Log
	for len(logs) < 2 {
		l, err := jetlog.Connect(ctx, &opts)
		if err != nil {
			if ctx.Err() != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond) // the cluster has no leader yet
			continue
		}
		t.Cleanup(func() { l.Close() })
		logs = append(logs, l)
	}
	const each = 300
	var wg sync.WaitGroup
	tails := make([][]eventlog.Record, 2)
	for i, l := range logs {
		wg.Go(func() {
			for n := 0; n < each; {
				m := eventlog.Message{Topic: fmt.Sprintf("by.%d", i), Key: fmt.Sprint(n), Data: fmt.Sprint(n)}
				a := l.Append(ctx, []eventlog.Message{m})[0]
				switch {
				case a.Err == nil:
					n++
				case ctx.Err() != nil || errors.Is(a.Err, eventlog.ErrKeyConflict):
					t.Errorf("Append: %v", a.Err)
					return
				default:
					time.Sleep(10 * time.Millisecond)
				}
				if i == 0 && n == each/2 && a.Err == nil {
					killLeader(ctx, t, servers, opts.URL)
				}
			}
		})
		wg.Go(func() {
			for after := uint64(0); len(tails[i]) < 2*each && ctx.Err() == nil; {
				st, _ := l.State(ctx)
				for records, err := range l.Tail(ctx, st.Generation, after) {
					if err != nil {
						t.Logf("Tail: %v", err)
						time.Sleep(10 * time.Millisecond)
						continue
					}
					tails[i] = append(tails[i], records...)
					if after = records[len(records)-1].Seq; len(tails[i]) >= 2*each {
						break
					}
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	records := everything(t, logs[1])
	next := map[string]int{}
	for _, r := range records {
		if r.Data != fmt.Sprint(next[r.Topic]) {
			t.Fatalf("record %d of %s is %s, want %d", r.Seq, r.Topic, r.Data, next[r.Topic])
		}
		next[r.Topic]++
	}
	if next["by.0"] != each || next["by.1"] != each {
		t.Errorf("there are %v", next)
	}
	for i := range tails {
		if !slices.Equal(tails[i], records) {
			t.Errorf("tail %d has %d records, or others than Read has, %d", i, len(tails[i]), len(records))
		}
	}
}

// killLeader kills the server that leads the stream.
func killLeader(ctx context.Context, t *testing.T, servers []*natsServer, urls string) {
	nc, err := nats.Connect(urls)
	if err != nil {
		t.Error(err)
		return
	}
	defer nc.Close()
	js, _ := jetstream.New(nc)
	stream, err := js.Stream(ctx, jetlog.DefaultStream)
	if err != nil {
		t.Error(err)
		return
	}
	leader := stream.CachedInfo().Cluster.Leader
	var i int
	if _, err := fmt.Sscanf(leader, "n%d", &i); err != nil {
		t.Errorf("the leader is %q", leader)
		return
	}
	if u, err := url.Parse(servers[i].url); err == nil {
		t.Logf("killing the leader, %s at %s", leader, u.Host)
	}
	servers[i].kill()
}
