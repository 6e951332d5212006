package natslog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/natslog"
	"example.com/tidings/internal/natstest"
	"example.com/tidings/sse"
)

// The leader of a replicated stream is killed while two nodes append messages with keys,
// and append failed ones again. Every message is stored once, the messages of each node in
// their order, and the tail of each node has all of them. Then two servers erase messages.
func TestCluster(t *testing.T) {
	servers := natstest.StartCluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	opts := natslog.Options{URL: natstest.URLs(servers), Replicas: 3, Logger: quiet(t)}
	js := jetStream(t, opts.URL)
	logs := []*natslog.Log{connect(t, opts), connect(t, opts)}
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
					killLeader(ctx, t, js, servers)
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
	mustRemove(t, logs[0], 5, 6)
	wantHole(t, logs[0], "by.*", 0, 20, 5, 6, sse.GapRemoved)
	if n, err := logs[1].Remove(ctx, []uint64{6, 5}); n != 0 || err != nil {
		t.Errorf("Remove of what is gone: %d, %v", n, err)
	}
}

// killLeader kills the server that leads the stream.
func killLeader(ctx context.Context, t *testing.T, js jetstream.JetStream, servers []*natstest.Server) {
	stream, err := js.Stream(ctx, natslog.DefaultStream)
	if err != nil {
		t.Error(err)
		return
	}
	leader := stream.CachedInfo().Cluster.Leader
	i := slices.IndexFunc(servers, func(s *natstest.Server) bool { return s.Name == leader })
	if i < 0 {
		t.Errorf("the leader is %q", leader)
		return
	}
	t.Logf("killing the leader, %s", leader)
	servers[i].Kill()
}
