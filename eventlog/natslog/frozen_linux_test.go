package natslog_test

import (
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/natslog"
	"example.com/tidings/internal/natstest"
)

// D3 and D4: the server of a node freezes, which is not the leader. The node goes to the next one
// in the order of its URLs. Then most servers freeze for a while: nothing is lost, and the log does
// not believe that it was.
func TestServersThatFreeze(t *testing.T) {
	t.Parallel()
	servers := natstest.StartCluster(t)
	js := jetStream(t, natstest.URLs(slices.Clone(servers[1:])))
	l := connect(t, natslog.Options{URL: natstest.URLs(servers), Replicas: 3, Logger: slog.New(slog.DiscardHandler)})
	appendSoon(t, l, topicA(10))
	before := state(t, l)
	eventually(t, "another server leads", func() bool {
		stream, err := js.Stream(t.Context(), natslog.DefaultStream)
		if err != nil {
			return false
		}
		cluster := stream.CachedInfo().Cluster
		if cluster.Leader == servers[0].Name {
			_, _ = js.Conn().Request("$JS.API.STREAM.LEADER.STEPDOWN."+natslog.DefaultStream, nil, time.Second)
		}
		return cluster.Leader != servers[0].Name && cluster.Leader != ""
	})
	servers[0].Pause(t)
	begun := time.Now()
	appendSoon(t, l, topicA(1))
	if d := time.Since(begun); d > 15*time.Second { // it takes some 5 s
		t.Errorf("going to another server took %v", d)
	}
	servers[0].Resume(t)
	for _, s := range servers[1:] {
		s.Pause(t)
	}
	for stalled := time.Now(); time.Since(stalled) < 5*time.Second; {
		if a := l.Append(t.Context(), topicA(1))[0]; a.Err != nil && !errors.Is(a.Err, eventlog.ErrUnavailable) && !errors.Is(a.Err, eventlog.ErrUnconfirmed) {
			t.Errorf("without a majority: %v", a.Err)
		}
	}
	for _, s := range servers[1:] {
		s.Resume(t)
	}
	appendSoon(t, l, topicA(10))
	if now := state(t, l); now.Generation != before.Generation || !slices.Equal(now.Epochs, before.Epochs) {
		t.Errorf("nothing is lost; the state was %+v, and is %+v", before, now)
	}
}
