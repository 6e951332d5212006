package natslog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/natslog"
	"example.com/tidings/internal/natstest"
)

// What only a cluster shows: three servers do some things one after the other that one server does
// at once, and each of them can be behind.
func TestThreeServers(t *testing.T) {
	t.Parallel()
	servers := natstest.StartConfigured(t, natstest.Config{Servers: 3})
	t.Run("starts at the same time", func(t *testing.T) { startTogether(t, servers) })
	t.Run("the bucket has no leader", func(t *testing.T) { bucketWithoutLeader(t, servers) })
	t.Run("a start while another log is in doubt", func(t *testing.T) { startInDoubt(t, servers) })
	t.Run("the consumer delivers nothing", func(t *testing.T) { consumerOfThree(t, servers) })
	t.Run("a replica differs", func(t *testing.T) { replicaThatDiffers(t, servers) })
}

// startTogether starts three logs that make their stream and its bucket at the same time. NATS
// leaves requests unanswered then, and says that there is no such stream. No start fails, and none
// waits for an answer that does not come.
func startTogether(t *testing.T, servers []*natstest.Server) {
	for round := range 4 {
		logs := make([]*natslog.Log, 3)
		var wg sync.WaitGroup
		for i := range logs {
			wg.Go(func() {
				urls := slices.Concat(servers[i:], servers[:i])
				begun := time.Now()
				l, err := natslog.Connect(t.Context(), &natslog.Options{
					URL: natstest.URLs(urls), Stream: fmt.Sprint("together", round), Replicas: 3, MaxBytes: 1 << 20, Wait: patience,
					Logger: slog.New(slog.DiscardHandler),
				})
				if err != nil {
					t.Errorf("round %d: %v", round, err)
					return
				}
				logs[i] = l
				if d := time.Since(begun); d > 15*time.Second { // it takes up to 2 s
					t.Errorf("round %d: a start took %v", round, d)
				}
			})
		}
		wg.Wait()
		var epochs eventlog.Timeline
		for _, l := range logs {
			if l == nil {
				continue
			}
			if got := state(t, l).Epochs; epochs == nil {
				epochs = got
			} else if !slices.Equal(got, epochs) {
				t.Errorf("round %d: the epochs are %v and %v", round, epochs, got)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// bucketWithoutLeader has nobody answer for the bucket of the list of epochs, as before its first
// election. A log that starts asks again, and knows the epochs of the list. One that runs does not
// warn at once.
func bucketWithoutLeader(t *testing.T, servers []*natstest.Server) {
	const name = "listed"
	js := jetStream(t, servers[0].URL)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: name, Subjects: []string{name + ".>"}, AllowDirect: true, Metadata: map[string]string{"tidings-epoch": base},
		Placement: &jetstream.Placement{Tags: []string{servers[0].Name}},
	}); err != nil {
		t.Fatal(err)
	}
	bucket, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{
		Bucket: name + "-epochs", Placement: &jetstream.Placement{Tags: []string{servers[1].Name}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := natslog.Cuts(base, []uint64{3})
	list := fmt.Appendf(nil, `{"epochs":[{"id":%q,"first":1},{"id":%q,"first":4}],"points":[]}`, base, want[1].ID)
	if _, err := bucket.Put(t.Context(), "epochs", list); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, err := js.Publish(t.Context(), name+".a", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	requests, err := js.Conn().SubscribeSync("$JS.API.STREAM.MSG.GET.KV_" + name + "-epochs")
	if err != nil {
		t.Fatal(err)
	}
	silence := func(n int) time.Duration { // until so many more requests have come
		begun := time.Now()
		for range n {
			if _, err := requests.NextMsg(patience); err != nil {
				t.Fatalf("nobody asks for the list any more: %v", err)
			}
		}
		return time.Since(begun)
	}
	const few = 3 // the third comes after some two seconds
	var lines journal
	connected := make(chan *natslog.Log, 1)
	servers[1].Pause(t)
	go func() {
		l, err := natslog.Connect(t.Context(), &natslog.Options{URL: natstest.URLs(servers), Stream: name, Wait: patience, Logger: lines.logger()})
		if err != nil {
			t.Error(err)
		}
		connected <- l
	}()
	silence(few)
	servers[1].Resume(t)
	l := <-connected
	if l == nil {
		return
	}
	defer l.Close()
	if got := state(t, l).Epochs; !slices.Equal(got, want) {
		t.Errorf("the epochs are %v, want %v", got, want)
	}
	eventually(t, "the log has written the list", func() bool {
		entry, err := bucket.Get(t.Context(), "epochs")
		return err == nil && entry.Revision() > 1
	})
	for more, _, _ := requests.Pending(); more > 0; more, _, _ = requests.Pending() {
		silence(1)
	}
	servers[1].Pause(t)
	lasted := silence(few)
	servers[1].Resume(t)
	if lines.count("list of epochs") > 0 && lasted < 4*time.Second {
		t.Errorf("the log is:\n%s", lines.text())
	}
}

// consumerOfThree is TestConsumerThatDeliversNothing in a cluster. The consumers are paused, and
// then the server of one freezes.
func consumerOfThree(t *testing.T, servers []*natstest.Server) {
	n := newNode(t, natslog.Options{URL: natstest.URLs(servers), Replicas: 3, MaxBytes: 1 << 20, Wait: patience, Logger: slog.New(slog.DiscardHandler)})
	js := jetStream(t, servers[0].URL)
	sub := subscribe(t, n, "")
	appendSoon(t, n.log, numbered("a", 1, 1))
	mustAppend(t, n.log, numbered("a", 2, 10))
	sub.want(t, "from the first consumer", datas("a", 1, 10)...)
	stream, err := js.Stream(t.Context(), natslog.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	deliversWithin := func(word string, most time.Duration) {
		appendSoon(t, n.log, numbered(word, 1, 1))
		begun := time.Now()
		sub.want(t, word, datas(word, 1, 1)...)
		d := time.Since(begun)
		if t.Logf("%s: it took %v", word, d); d > most {
			t.Errorf("%s: it took %v", word, d)
		}
	}
	consumers := func() (all []*jetstream.ConsumerInfo) {
		for c := range stream.ListConsumers(t.Context()).Info() {
			all = append(all, c)
		}
		return all
	}
	eventually(t, "the only consumer is paused", func() bool {
		all := consumers()
		if len(all) == 1 && !all[0].Paused {
			_, _ = stream.PauseConsumer(t.Context(), all[0].Name, time.Now().Add(time.Hour))
		}
		return len(all) == 1 && all[0].Paused
	})
	deliversWithin("paused", 15*time.Second) // it takes 4 to 6 s
	var server *natstest.Server
	eventually(t, "the consumer is on a server that nobody else needs", func() bool {
		info, err := stream.Info(t.Context())
		if err != nil {
			return false
		}
		all := consumers()
		if len(all) != 1 || all[0].Cluster == nil {
			return false
		}
		on := all[0].Cluster.Leader
		switch at := slices.IndexFunc(servers, func(s *natstest.Server) bool { return s.Name == on }); {
		case at > 0 && info.Cluster.Leader != on:
			server = servers[at]
		case at >= 0: // the log makes another one
			_ = stream.DeleteConsumer(t.Context(), all[0].Name)
		}
		return server != nil
	})
	server.Pause(t)
	defer server.Resume(t)
	deliversWithin("frozen", 20*time.Second) // it takes 3 to 9 s: that server may lead the cluster
}

// startInDoubt starts a log while another one misses a record that it has seen, and waits for the
// leader to have it. The second one waits, too, as does one that runs and has not seen the record. All
// come to the same. Otherwise the others would store messages, and their readers get them once more
// when the first one is sure of the loss.
func startInDoubt(t *testing.T, servers []*natstest.Server) {
	opts := natslog.Options{URL: natstest.URLs(servers), Stream: "doubted", Replicas: 3, MaxBytes: 1 << 20, Wait: patience, Logger: slog.New(slog.DiscardHandler)}
	first, beside := connect(t, opts), connect(t, opts)
	appendSoon(t, first, topicA(1))
	js := jetStream(t, servers[0].URL)
	has := func(text string) bool {
		kv, err := js.KeyValue(t.Context(), "doubted-epochs")
		if err != nil {
			return false
		}
		entry, err := kv.Get(t.Context(), "epochs")
		return err == nil && strings.Contains(string(entry.Value()), text)
	}
	eventually(t, "the bucket is there", func() bool { return has("epochs") })
	before := state(t, first)
	const lost = 99
	first.SawRecordAt(lost, time.Now())
	eventually(t, "the doubt is noted", func() bool { return has(fmt.Sprintf(`"seq":%d,`, lost)) || has(`"first":2}`) })
	if has(`"first":2}`) {
		t.Error("the record was not noted before the loss was certain")
	}
	eventually(t, "the log that runs waits, too", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err := beside.State(ctx)
		return err != nil
	})
	second := connect(t, opts)
	appendSoon(t, second, topicA(1))
	epochs := state(t, second).Epochs
	if len(epochs) != len(before.Epochs)+1 || epochs[1].First != 2 {
		t.Errorf("the epochs of the second log are %v", epochs)
	}
	for _, l := range []*natslog.Log{first, beside} {
		if got := nextState(t, l, before).Epochs; !slices.Equal(got, epochs) {
			t.Errorf("the epochs of a log that runs are %v, and of the one that was started %v", got, epochs)
		}
	}
}

// replicaThatDiffers gives a server another copy of the stream, as it can have after a loss of power.
// No reader gets a record of it.
func replicaThatDiffers(t *testing.T, servers []*natstest.Server) {
	for i := range 3 {
		if readBesideDifferentReplica(t, servers, fmt.Sprint("differs", i)) {
			return
		}
	}
	t.Error("the server with another copy was elected each time, so that its copy is the stream")
}

// readBesideDifferentReplica is replicaThatDiffers for a stream of a name. It returns false if the
// server with the other copy was elected.
func readBesideDifferentReplica(t *testing.T, servers []*natstest.Server, name string) bool {
	opts := natslog.Options{URL: natstest.URLs(servers), Stream: name, Replicas: 3, MaxBytes: 1 << 20, Wait: patience, Logger: slog.New(slog.DiscardHandler)}
	l := connect(t, opts)
	appendSoon(t, l, numbered("right", 1, 1)) // the stream may have no leader yet
	mustAppend(t, l, numbered("right", 2, 40))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	other := natstest.Start(t)
	elsewhere := jetStream(t, other.URL)
	if _, err := elsewhere.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}}); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		if _, err := elsewhere.Publish(t.Context(), name+".a", fmt.Append(nil, "wrong", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	other.Stop()
	js := jetStream(t, natstest.URLs(servers[:2]))
	settled := func() bool { // another server leads, and all are there
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			return false
		}
		cluster := stream.CachedInfo().Cluster
		if cluster.Leader == servers[2].Name {
			_, _ = js.Conn().Request("$JS.API.STREAM.LEADER.STEPDOWN."+name, nil, time.Second)
			return false
		}
		return cluster.Leader != "" && !slices.ContainsFunc(cluster.Replicas, func(p *jetstream.PeerInfo) bool { return !p.Current })
	}
	eventually(t, "another server leads", settled)
	messages := func(s *natstest.Server) string {
		return filepath.Join(s.Dir, "jetstream", "$G", "streams", name, "msgs")
	}
	servers[2].Stop()
	if err := errors.Join(os.RemoveAll(messages(servers[2])), os.CopyFS(messages(servers[2]), os.DirFS(messages(other)))); err != nil {
		t.Fatal(err)
	}
	servers[2].Restart(t)
	eventually(t, "the server is back", settled)
	own := jetStream(t, servers[2].URL)
	eventually(t, "the server answers its own clients with its copy", func() bool {
		m, err := own.Conn().Request("$JS.API.DIRECT.GET."+name, []byte(`{"seq":40}`), time.Second)
		return err == nil && string(m.Data) == "wrong40"
	})
	if !settled() {
		return false
	}
	var lines journal
	opts.URL, opts.Logger = natstest.URLs([]*natstest.Server{servers[2], servers[0], servers[1]}), lines.logger()
	l = connect(t, opts)
	want := datas("right", 1, 40)
	var read []string
	for _, r := range everything(t, l) {
		read = append(read, r.Data)
	}
	if !slices.Equal(read, want) {
		t.Errorf("Read returns %q; another server leads: %t; the log is:\n%s", read[0], settled(), lines.text())
	}
	for range 10 { // each consumer is on any server
		var got []string
		for records, err := range l.Tail(t.Context(), state(t, l).Generation, 0) {
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				got = append(got, r.Data)
			}
			if len(got) >= len(want) {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("a Tail has %q", got)
		}
	}
	if lines.count("level=ERROR") == 0 || lines.count("differs from the leader") == 0 {
		t.Errorf("the log does not say that a replica differs:\n%s", lines.text())
	}
	return true
}
