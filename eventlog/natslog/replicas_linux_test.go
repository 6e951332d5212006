package natslog_test

import (
	"fmt"
	"log/slog"
	"slices"
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
	t.Run("the consumer delivers nothing", func(t *testing.T) { consumerOfThree(t, servers) })
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
	mustAppend(t, n.log, numbered("a", 1, 10))
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
	for name := range stream.ConsumerNames(t.Context()).Name() {
		if _, err := stream.PauseConsumer(t.Context(), name, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	deliversWithin("paused", 15*time.Second) // it takes 4 to 6 s
	var server *natstest.Server
	eventually(t, "the consumer is on a server that nobody else needs", func() bool {
		info, err := stream.Info(t.Context())
		if err != nil {
			return false
		}
		var consumers []*jetstream.ConsumerInfo
		for c := range stream.ListConsumers(t.Context()).Info() {
			consumers = append(consumers, c)
		}
		if len(consumers) != 1 || consumers[0].Cluster == nil {
			return false
		}
		on := consumers[0].Cluster.Leader
		switch at := slices.IndexFunc(servers, func(s *natstest.Server) bool { return s.Name == on }); {
		case at > 0 && info.Cluster.Leader != on:
			server = servers[at]
		case at >= 0: // the log makes another one
			_ = stream.DeleteConsumer(t.Context(), consumers[0].Name)
		}
		return server != nil
	})
	server.Pause(t)
	defer server.Resume(t)
	deliversWithin("frozen", 20*time.Second) // it takes 3 to 6 s, and longer if that server leads the cluster
}
