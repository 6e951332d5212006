//go:build unix

package natslog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/natslog"
	"example.com/tidings/internal/natstest"
	"example.com/tidings/topics"
)

// A journal is a logger's output that tests read.
type journal struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines.Write(p)
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines.String()
}

// count returns how often a text is there.
func (j *journal) count(text string) int { return strings.Count(j.text(), text) }

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// changeStream changes the configuration of the log's stream, as another program does.
func changeStream(t *testing.T, js jetstream.JetStream, change func(*jetstream.StreamConfig)) {
	t.Helper()
	stream, err := js.Stream(t.Context(), natslog.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	change(&config)
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// D2: a login that is taken away for a while costs no more than that while. So does a connection
// that the client gives up.
func TestLoginThatIsTakenAway(t *testing.T) {
	t.Parallel()
	users := map[string]string{"tidings": "secret", "other": "secret"}
	s := natstest.StartConfigured(t, natstest.Config{Servers: 1, Users: users})[0]
	var lines journal
	l := connect(t, natslog.Options{URL: strings.Replace(s.URL, "nats://", "nats://tidings:secret@", 1), Logger: lines.logger()})
	mustAppend(t, l, topicA(1))
	s.Configure(t, map[string]string{"other": "secret"})
	eventually(t, "the login is refused", func() bool { return lines.count("authorization violation") > 0 })
	time.Sleep(1500 * time.Millisecond) // so long it is away; the client gives up when it is refused twice
	if a := l.Append(t.Context(), topicA(1))[0]; !errors.Is(a.Err, eventlog.ErrUnavailable) {
		t.Errorf("meanwhile: %+v", a)
	}
	s.Configure(t, users)
	begun := time.Now()
	appendSoon(t, l, topicA(1))
	if d := time.Since(begun); d > 10*time.Second { // it takes some 300 ms
		t.Errorf("it took %v", d)
	}
	l.CloseConnection()
	appendSoon(t, l, topicA(1))
	if st := state(t, l); st.Last != 3 || st.Generation != 1 {
		t.Errorf("the state is %+v", st)
	}
}

// D6: what an operator removes while the log runs is a hole for every reader, and no hub hands it
// out from its memory.
func TestRemovedWhileItRuns(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	n := newNode(t, natslog.Options{URL: s.URL})
	mustAppend(t, n.log, numbered("", 1, 10))
	mustAppend(t, n.log, []eventlog.Message{{Topic: "b"}, {Topic: "a", Data: "12"}})
	begin := state(t, n.log).Epochs.Position(0).String()
	subscribe(t, n, begin).want(t, "before", append(datas("", 1, 10), "12")...)
	js := jetStream(t, s.URL)
	stream, err := js.Stream(t.Context(), natslog.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SecureDeleteMsg(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the hole is known", func() bool {
		n.log.Look()
		holes, _ := n.log.Holes(0, 12, 0)
		return len(holes) == 1 && holes[0].First == 5 && holes[0].Last == 5
	})
	wantHole(t, n.log, "b", 0, 12, 5, 5, "lost")
	eventually(t, "the window has dropped it", func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := subscribe(t, n, begin)
		for range 11 {
			select {
			case item := <-s.got:
				if item == "lost 4-5" {
					return true
				}
			case <-ctx.Done():
			}
		}
		return false
	})
	want := append(append(datas("", 1, 4), "lost 4-5"), append(datas("", 6, 10), "12")...)
	subscribe(t, n, begin).want(t, "after", want...)
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject("tidings.b")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a topic that is purged is a hole", func() bool {
		n.log.Look()
		holes, _ := n.log.Holes(5, 12, 0)
		return len(holes) == 1 && holes[0].First == 11
	})
}

// D7: the settings of the stream are looked at while the log runs.
func TestSettingsThatAreChanged(t *testing.T) {
	s := natstest.Start(t)
	var lines journal
	n := newNode(t, natslog.Options{URL: s.URL, Logger: lines.logger()})
	if lines.count("level=WARN") != 1 || lines.count("has one replica") != 1 {
		t.Error("there is no warning of a stream with one replica")
	}
	js := jetStream(t, s.URL)
	changeStream(t, js, func(c *jetstream.StreamConfig) { c.AllowDirect = false })
	eventually(t, "allow_direct is set back", func() bool {
		n.log.Look()
		stream, err := js.Stream(t.Context(), natslog.DefaultStream)
		return err == nil && stream.CachedInfo().Config.AllowDirect
	})
	for _, row := range []struct {
		setting      string
		change, back func(*jetstream.StreamConfig)
	}{
		{"max_msgs_per_subject", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 }, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = -1 }},
		{"subjects", func(c *jetstream.StreamConfig) { c.Subjects = []string{"tidings.a.>"} }, func(c *jetstream.StreamConfig) { c.Subjects = []string{"tidings.>"} }},
		{"discard", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardNew }, func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }},
	} {
		changeStream(t, js, row.change)
		eventually(t, "the hub is not ready because of "+row.setting, func() bool {
			n.log.Look()
			err := n.Ready(t.Context())
			return err != nil && strings.Contains(err.Error(), row.setting)
		})
		if n := lines.count("level=ERROR"); n == 0 || lines.count(row.setting) == 0 {
			t.Errorf("%s: the log does not name it", row.setting)
		}
		changeStream(t, js, row.back)
		eventually(t, "the hub is ready again", func() bool {
			n.log.Look()
			return n.Ready(t.Context()) == nil
		})
	}
}

// D8: messages that are stored and do not reach the hub are an alarm.
func TestTailThatStops(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	var lines journal
	n := newNode(t, natslog.Options{URL: s.URL, Logger: lines.logger()})
	js := jetStream(t, s.URL)
	mustAppend(t, n.log, topicA(1))
	stream, err := js.Stream(t.Context(), natslog.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "other"}); err != nil {
		t.Fatal(err)
	}
	changeStream(t, js, func(c *jetstream.StreamConfig) { c.MaxConsumers = 1 })
	for name := range stream.ConsumerNames(t.Context()).Name() {
		if name != "other" {
			if err := stream.DeleteConsumer(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	mustAppend(t, n.log, topicA(1))
	eventually(t, "there is an alarm", func() bool {
		err := n.log.Trouble()
		return err != nil && strings.Contains(err.Error(), "do not reach")
	})
	if lines.count("level=ERROR") == 0 || n.Ready(t.Context()) == nil || !*n.Stats().Trouble {
		t.Error("the alarm is not logged, or the hub is ready")
	}
	if err := stream.DeleteConsumer(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the alarm has ended", func() bool { return n.log.Trouble() == nil })
}

// A consumer that lives and delivers nothing, as one does on a server that has not caught up, is
// given up before that is an alarm. Another one goes on with the next message. The paused ones do
// not stay.
func TestConsumerThatDeliversNothing(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	var lines journal
	n := newNode(t, natslog.Options{URL: s.URL, Logger: lines.logger()})
	js := jetStream(t, s.URL)
	sub := subscribe(t, n, "")
	mustAppend(t, n.log, numbered("a", 1, 10))
	sub.want(t, "from the first consumer", datas("a", 1, 10)...)
	stream, err := js.Stream(t.Context(), natslog.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	slowest := time.Duration(0)
	for range 2 {
		for name := range stream.ConsumerNames(t.Context()).Name() {
			if _, err := stream.PauseConsumer(t.Context(), name, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		mustAppend(t, n.log, numbered("b", 1, 10))
		begun := time.Now()
		sub.want(t, "from another consumer", datas("b", 1, 10)...)
		slowest = max(slowest, time.Since(begun))
		eventually(t, "one consumer is left", func() bool {
			info, err := stream.Info(t.Context())
			return err == nil && info.State.Consumers == 1
		})
	}
	if slowest > 20*time.Second { // it takes 4 to 6 s
		t.Errorf("it took %v", slowest)
	}
	if n := lines.count("delivers nothing"); n != 1 || slowest < 9*time.Second && lines.count("do not reach") > 0 {
		t.Errorf("after %v the log is:\n%s", slowest, lines.text())
	}
}

// A Tail needs no more goroutines the more messages it has received.
func TestTailKeepsItsGoroutines(t *testing.T) {
	s := natstest.Start(t)
	n := newNode(t, natslog.Options{URL: s.URL})
	sub := subscribe(t, n, "")
	receive := func(count int) (goroutines int) {
		for range count {
			mustAppend(t, n.log, numbered("a", 1, 1))
			sub.want(t, "one by one", "a1")
		}
		return runtime.NumGoroutine()
	}
	if before, after := receive(10), receive(200); after > before+20 {
		t.Errorf("%d goroutines have become %d", before, after)
	}
}

// D9: each method says whether the log is away, and each message whether it may be stored.
func TestErrorsWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	l := connect(t, natslog.Options{URL: s.URL, Logger: slog.New(slog.DiscardHandler)})
	js := jetStream(t, s.URL)
	mustAppend(t, l, topicA(3))
	methods := map[string]func() error{
		"State":  func() error { _, err := l.State(t.Context()); return err },
		"Topics": func() error { _, err := l.Topics(t.Context(), topics.MustFilters("**")[0], "", 1); return err },
		"At":     func() error { _, err := l.At(t.Context(), time.Now()); return err },
		"Back":   func() error { _, err := l.Back(t.Context(), topics.MustFilters("**"), 1, 3); return err },
		"Newest": func() error { _, _, err := l.Newest(t.Context(), topics.MustFilters("**"), 0, 3, 9); return err },
		"Count":  func() error { _, _, err := l.Count(t.Context(), topics.MustFilters("**"), 0); return err },
		"Remove": func() error { _, err := l.Remove(t.Context(), []uint64{1}); return err },
		"Read": func() error {
			_, err := l.Read(t.Context(), eventlog.Query{Filters: topics.MustFilters("**"), UpTo: 3, MaxRecords: 1, MaxBytes: 1})
			return err
		},
		"Append": func() error { return l.Append(t.Context(), topicA(1))[0].Err },
	}
	t.Run("full", func(t *testing.T) {
		changeStream(t, js, func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardNew, 3 })
		if err := methods["Append"](); !errors.Is(err, eventlog.ErrFull) {
			t.Errorf("a message for which there is no room: %v", err)
		}
		changeStream(t, js, func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardOld, -1 })
	})
	t.Run("frozen", func(t *testing.T) {
		s.Pause(t)
		defer s.Resume(t)
		var wg sync.WaitGroup
		for name, method := range methods {
			wg.Go(func() {
				want := eventlog.ErrUnavailable
				if name == "Append" {
					want = eventlog.ErrUnconfirmed // it was sent
				}
				if err := method(); !errors.Is(err, want) {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		wg.Wait()
	})
	appendSoon(t, l, topicA(1))
	t.Run("killed", func(t *testing.T) {
		s.Kill()
		eventually(t, "it is noticed", func() bool { return methods["State"]() != nil })
		for name, method := range methods {
			begun := time.Now()
			if err := method(); !errors.Is(err, eventlog.ErrUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
			if d := time.Since(begun); d > 3*time.Second {
				t.Errorf("%s took %v", name, d)
			}
		}
		s.Restart(t)
	})
	appendSoon(t, l, topicA(1))
	t.Run("sealed", func(t *testing.T) {
		changeStream(t, js, func(c *jetstream.StreamConfig) { c.Sealed = true })
		if err := methods["Append"](); !errors.Is(err, eventlog.ErrUnavailable) {
			t.Errorf("a message for a stream that is sealed: %v", err)
		}
	})
}

// D10: what another program stores beside Tidings breaks nothing, and is not taken for ours.
func TestForeignRecords(t *testing.T) {
	s := natstest.Start(t)
	var lines journal
	n := newNode(t, natslog.Options{URL: s.URL, Logger: lines.logger()})
	js := jetStream(t, s.URL)
	begin := state(t, n.log).Epochs.Position(0).String()
	long := strings.Repeat("x", 300)
	for i, row := range []struct{ subject, typ, data string }{
		{"tidings.a", "x%0Ay", "1"}, {"tidings.a", "x%0Dy", "2"}, {"tidings.a", "x%00y", "3"}, {"tidings.a", "tidings.gap", "4"},
		{"tidings.a", long, "5"}, {"tidings.a", "x%FFy", "6"}, {"tidings.a", "t", "seven"}, {"tidings.a", "", "ei\xffght\x00"},
		{"tidings.tidings.gap", "", "9"}, {"tidings.b c", "", "10"}, {"tidings." + long, "", "11"}, {"tidings.a", "t", "twelve"},
	} {
		m := &nats.Msg{Subject: row.subject, Data: []byte(row.data), Header: nats.Header{}}
		if row.typ != "" {
			m.Header.Set("Tidings-Type", row.typ)
		}
		if ack, err := js.PublishMsg(t.Context(), m); err != nil || ack.Sequence != uint64(i+1) {
			if strings.Contains(row.subject, " ") { // the client refuses it
				m.Subject = "tidings.b\u00e4"
				_, err = js.PublishMsg(t.Context(), m)
			}
			if err != nil {
				t.Fatal(i, err)
			}
		}
	}
	want := []string{}
	for i := range 6 {
		want = append(want, fmt.Sprintf("invalid %d-%d", i, i+1))
	}
	want = append(want, "seven", "ei\ufffdght\x00", "twelve")
	subscribe(t, n, begin).want(t, "a live stream", want...)
	fresh := newNode(t, natslog.Options{URL: s.URL, Logger: slog.New(slog.DiscardHandler)})
	subscribe(t, fresh, begin).want(t, "a stream of another node", want...)
	records := everything(t, n.log)
	if len(records) != 12 || !records[8].Invalid || !records[9].Invalid || !records[10].Invalid || records[11].Invalid || records[8].Data != "" {
		t.Errorf("the records are %+v", records)
	}
	if c := lines.count("no event of Tidings"); c != 1 {
		t.Errorf("there are %d warnings", c)
	}
}

// A start waits for a server that is not there yet.
func TestConnectWaits(t *testing.T) {
	s := natstest.Start(t)
	s.Stop()
	connected := make(chan error, 1)
	go func() {
		l, err := natslog.Connect(t.Context(), &natslog.Options{URL: s.URL, Wait: patience, Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			err = l.Close()
		}
		connected <- err
	}()
	s.Restart(t)
	if err := <-connected; err != nil {
		t.Error(err)
	}
	begun := time.Now()
	_, err := natslog.Connect(t.Context(), &natslog.Options{URL: s.URL, Stream: "a.b", Wait: patience})
	if err == nil || time.Since(begun) > patience/2 {
		t.Errorf("wrong settings: %v after %v", err, time.Since(begun))
	}
}
