package natslog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/logtest"
	"example.com/tidings/eventlog/natslog"
	"example.com/tidings/internal/leak"
	"example.com/tidings/internal/natstest"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

func TestMain(m *testing.M) { leak.Main(m) }

// patience is how long a test waits for the server. It only catches a hang.
const patience = time.Minute

// quiet returns a logger that writes errors to the test's output.
func quiet(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
}

// connect connects to a server, and fails the test if it cannot.
func connect(t testing.TB, opts natslog.Options) *natslog.Log {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = quiet(t)
	}
	l, err := natslog.Connect(t.Context(), &opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// state returns the state of a log, and fails the test if it cannot.
func state(t testing.TB, l eventlog.Log) eventlog.State {
	t.Helper()
	st, err := l.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// mustAppend appends messages, and fails the test if it cannot.
func mustAppend(t testing.TB, l eventlog.Log, messages []eventlog.Message) {
	t.Helper()
	for _, a := range l.Append(t.Context(), messages) {
		if a.Err != nil {
			t.Fatal(a.Err)
		}
	}
}

// bare returns a result without the mark in its id.
func bare(a eventlog.Appended) eventlog.Appended {
	a.ID.Mark = 0
	return a
}

// everything returns all records that a log retains, by Read.
func everything(t testing.TB, l eventlog.Log) []eventlog.Record {
	t.Helper()
	var records []eventlog.Record
	for q := (eventlog.Query{Filters: topics.MustFilters("**"), UpTo: state(t, l).Last, MaxRecords: 1000, MaxBytes: 1 << 20}); q.After < q.UpTo; {
		b, err := l.Read(t.Context(), q)
		if err != nil || b.Through <= q.After {
			t.Fatal(b.Through, err)
		}
		records = append(records, b.Records...)
		q.After = b.Through
	}
	return records
}

// jetStream returns a client of JetStream beside the log's own.
func jetStream(t testing.TB, urls string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(urls)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestLog(t *testing.T) {
	s := natstest.Start(t)
	n := 0
	name := func() string { return fmt.Sprintf("test%d", n) }
	const enough = 64 << 20 // the server reserves it for each stream
	logtest.Run(t, logtest.Kit{
		Open: func(t *testing.T) eventlog.Log {
			n++
			return connect(t, natslog.Options{URL: s.URL, Stream: name(), MaxBytes: enough})
		},
		Reopen: func(t *testing.T) eventlog.Log {
			return connect(t, natslog.Options{URL: s.URL, Stream: name(), MaxBytes: enough})
		},
		OpenSmall: func(t *testing.T, maxBytes int64, maxAge time.Duration) eventlog.Log {
			n++
			return connect(t, natslog.Options{URL: s.URL, Stream: name(), MaxBytes: maxBytes, MaxAge: maxAge})
		},
	})
}

// Two processes with the same stream share its order, its epoch and its keys.
func TestTwoNodes(t *testing.T) {
	s := natstest.Start(t)
	var logs [2]*natslog.Log
	var wg sync.WaitGroup
	for i := range logs {
		wg.Go(func() {
			var err error
			if logs[i], err = natslog.Connect(t.Context(), &natslog.Options{URL: s.URL, Logger: quiet(t)}); err != nil {
				t.Errorf("Connect: %v", err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, l := range logs {
		defer l.Close()
	}
	st := state(t, logs[0])
	if other := state(t, logs[1]).Epochs; !slices.Equal(st.Epochs, other) || len(other) != 1 {
		t.Fatalf("the epochs are %v and %v", st.Epochs, other)
	}
	first := logs[0].Append(t.Context(), []eventlog.Message{{Topic: "a", Key: "k", Data: "1"}})[0]
	second := logs[1].Append(t.Context(), []eventlog.Message{{Topic: "a", Key: "k", Data: "1"}, {Topic: "a", Data: "2"}})
	at := st.Epochs.Position
	if bare(first) != (eventlog.Appended{ID: at(1)}) || bare(second[0]) != (eventlog.Appended{ID: at(1), Repeat: true}) || bare(second[1]) != (eventlog.Appended{ID: at(2)}) ||
		first.ID != second[0].ID || first.ID.Mark == second[1].ID.Mark {
		t.Fatalf("got %+v and %+v", first, second)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	seen := 0
	for records, err := range logs[0].Tail(ctx, st.Generation, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if seen += len(records); seen == 2 {
			break
		}
	}
	if seen != 2 {
		t.Errorf("the tail of one node sees %d records of both", seen)
	}
}

// While its server is away, Append fails soon and clearly. Then it works again, and the tail
// goes on where it was.
func TestServerRestarts(t *testing.T) {
	s := natstest.Start(t)
	l := connect(t, natslog.Options{URL: s.URL})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	generation := state(t, l).Generation
	var got []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The tail may end with an error, and begins again as that of the hub does. The
		// log is not opened anew.
		for after := uint64(0); len(got) < 2 && ctx.Err() == nil; {
			for records, err := range l.Tail(ctx, generation, after) {
				if err != nil {
					t.Logf("Tail: %v", err)
				}
				for _, r := range records {
					got = append(got, r.Data)
					after = r.Seq
				}
				if len(got) >= 2 {
					break
				}
			}
		}
	}()
	mustAppend(t, l, []eventlog.Message{{Topic: "a", Data: "before"}})
	s.Kill()
	begun := time.Now()
	if a := l.Append(ctx, []eventlog.Message{{Topic: "a", Data: "meanwhile"}})[0]; a.Err == nil {
		t.Error("Append succeeds without a server")
	}
	if _, err := l.State(ctx); err == nil {
		t.Error("State succeeds without a server")
	}
	if d := time.Since(begun); d > 15*time.Second {
		t.Errorf("the errors took %v", d)
	}
	s.Restart(t)
	appendSoon(t, l, []eventlog.Message{{Topic: "a", Data: "after", Key: "after"}})
	<-done
	if !slices.Equal(got, []string{"before", "after"}) {
		t.Errorf("the tail yields %q", got)
	}
}

// A stream that is deleted and made again has another epoch and another generation. The tail
// ends, and no method answers for the old generation.
func TestStreamMadeAgain(t *testing.T) {
	s := natstest.Start(t)
	l := connect(t, natslog.Options{URL: s.URL})
	mustAppend(t, l, []eventlog.Message{{Topic: "a"}, {Topic: "a"}})
	before := state(t, l)
	js := jetStream(t, s.URL)
	if err := js.DeleteStream(t.Context(), natslog.DefaultStream); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var end error
	for _, err := range l.Tail(ctx, before.Generation, 2) {
		end = err
	}
	if end == nil {
		t.Error("the tail ends without an error")
	}
	after := nextState(t, l, before)
	if len(after.Epochs) != 1 || after.Epochs[0] == before.Epochs[0] || after.Last != 0 {
		t.Errorf("the state was %+v and is %+v", before, after)
	}
	if a := l.Append(ctx, []eventlog.Message{{Topic: "a"}})[0]; bare(a) != (eventlog.Appended{ID: after.Epochs.Position(1)}) {
		t.Errorf("Append: %+v", a)
	}
	wantReopened(t, l, before.Generation)
	if st := state(t, l); st.Last != 1 {
		t.Errorf("the state is %+v", st)
	}
}

// D1: the stream is deleted and made again with the same metadata. What it had is lost, and told.
func TestStreamMadeAgainWithItsMetadata(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	l := connect(t, natslog.Options{URL: s.URL, Logger: slog.New(slog.DiscardHandler)})
	mustAppend(t, l, topicA(5))
	before := state(t, l)
	js := jetStream(t, s.URL)
	stream, err := js.Stream(t.Context(), natslog.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), natslog.DefaultStream); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), stream.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "tidings.a", nil); err != nil {
		t.Fatal(err)
	}
	after := nextState(t, l, before)
	if len(after.Epochs) != 2 || after.Epochs[0] != before.Epochs[0] || after.Epochs[1].First != 1 || !after.Epochs[1].Cut {
		t.Errorf("the epochs are %+v", after.Epochs)
	}
	if at, reason := after.Epochs.Resolve(before.Epochs.Position(3)); at != 0 || reason != sse.GapLost {
		t.Errorf("an id of before goes on after %d, %q", at, reason)
	}
}

// nextState waits until the log is opened anew, and returns its state.
func nextState(t *testing.T, l eventlog.Log, before eventlog.State) eventlog.State {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		st, err := l.State(t.Context())
		if err == nil && st.Generation != before.Generation {
			return st
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log is not opened anew: %+v, %v", st, err)
		}
	}
}

// appendSoon appends messages as soon as the server is there.
func appendSoon(t *testing.T, l eventlog.Log, messages []eventlog.Message) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		a := l.Append(t.Context(), messages)[0]
		if a.Err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("Append fails still: %v", a.Err)
		}
	}
}

// wantReopened checks that Read and Tail refuse an old generation.
func wantReopened(t *testing.T, l eventlog.Log, old uint64) {
	t.Helper()
	q := eventlog.Query{Filters: topics.MustFilters("**"), UpTo: 1, Generation: old, MaxRecords: 1, MaxBytes: 1}
	if b, err := l.Read(t.Context(), q); !errors.Is(err, eventlog.ErrReopened) {
		t.Errorf("Read of the old generation: %+v, %v", b, err)
	}
	for records, err := range l.Tail(t.Context(), old, 0) {
		if !errors.Is(err, eventlog.ErrReopened) {
			t.Errorf("Tail of the old generation: %+v, %v", records, err)
		}
	}
}

// Messages that are deleted in the middle of an external stream are a gap.
func TestHoles(t *testing.T) {
	s := natstest.Start(t)
	l := connect(t, natslog.Options{URL: s.URL})
	mustAppend(t, l, slices.Repeat([]eventlog.Message{{Topic: "a"}, {Topic: "b"}}, 10))
	js := jetStream(t, s.URL)
	stream, err := js.Stream(t.Context(), natslog.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(5); seq <= 8; seq++ {
		if err := stream.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	// A log finds them by reading everything, or when it is opened.
	wantHole(t, l, "**", 0, 20, 5, 8, sse.GapLost)
	for _, pattern := range []string{"**", "a", "none"} {
		wantHole(t, connect(t, natslog.Options{URL: s.URL}), pattern, 0, 20, 5, 8, sse.GapLost)
	}
	// Where the newest of a topic is deleted, the one before is the newest.
	if err := stream.DeleteMsg(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	if seqs, through, err := l.Newest(t.Context(), topics.MustFilters("**"), 0, 20, 10); err != nil || !slices.Equal(seqs, []uint64{18, 19}) || through <= 18 {
		t.Errorf("Newest: %v, %d, %v", seqs, through, err)
	}
}

func TestConnectErrors(t *testing.T) {
	s := natstest.Start(t)
	js := jetStream(t, s.URL)
	for _, config := range []jetstream.StreamConfig{
		{Name: "other", Subjects: []string{"something.>"}},
		{Name: "perSubject", Subjects: []string{"perSubject.>"}, MaxMsgsPerSubject: 5},
	} {
		if _, err := js.CreateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name string
		opts natslog.Options
		want string
	}{
		{"nobody there", natslog.Options{URL: "nats://user:secret@127.0.0.1:1"}, "no connection to NATS at nats://user:xxxxx@127.0.0.1:1"},
		{"no file", natslog.Options{URL: s.URL, CredentialsFile: "does-not-exist"}, "does-not-exist"},
		{"another's stream", natslog.Options{URL: s.URL, Stream: "other"}, `the stream "other" is not one of Tidings: its subjects`},
		{"limits by subject", natslog.Options{URL: s.URL, Stream: "perSubject"}, "retention"},
		{"a bad name", natslog.Options{URL: s.URL, Stream: "a.b"}, "may have only letters"},
		{"replicas without a cluster", natslog.Options{URL: s.URL, Stream: "three", Replicas: 3}, "cannot be made"},
		{"half a certificate", natslog.Options{URL: s.URL, CertFile: "x"}, "together"},
		{"a long window", natslog.Options{URL: s.URL, Stream: "w", MaxAge: time.Minute, DedupWindow: time.Hour}, "longer than"},
	} {
		row.opts.Logger = quiet(t)
		l, err := natslog.Connect(t.Context(), &row.opts)
		if err == nil {
			l.Close()
			t.Errorf("%s: no error", row.name)
		} else if s := err.Error(); !strings.Contains(s, row.want) || strings.Contains(s, "\n") || strings.Contains(s, "secret") {
			t.Errorf("%s: %q, want it to have %q", row.name, s, row.want)
		}
	}
}

// Connect changes an existing stream to the options. It keeps what they leave open.
func TestConnectUpdatesRetention(t *testing.T) {
	s := natstest.Start(t)
	connect(t, natslog.Options{URL: s.URL, MaxAge: time.Hour, MaxBytes: 1 << 20})
	l := connect(t, natslog.Options{URL: s.URL, MaxAge: 2 * time.Hour, DedupWindow: 3 * time.Minute})
	if st, err := l.State(t.Context()); err != nil || st.KeyWindow != 3*time.Minute {
		t.Errorf("the log says that it remembers keys for %v, %v", st.KeyWindow, err)
	}
	js := jetStream(t, s.URL)
	stream, err := js.Stream(t.Context(), natslog.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	if c := stream.CachedInfo().Config; c.MaxAge != 2*time.Hour || c.MaxBytes != 1<<20 || c.Duplicates != 3*time.Minute {
		t.Errorf("the stream has the age %v, %d bytes, the window %v", c.MaxAge, c.MaxBytes, c.Duplicates)
	}
}

// Append does not send a message that the server would refuse.
func TestTooLarge(t *testing.T) {
	s := natstest.Start(t)
	l := connect(t, natslog.Options{URL: s.URL})
	got := l.Append(t.Context(), []eventlog.Message{
		{Topic: "a", Data: strings.Repeat("x", 1<<20-64)}, // the headers count too
		{Topic: "a", Type: "t", Data: strings.Repeat("x", 1<<20)},
		{Topic: "a", Data: "x"},
	})
	if got[0].Err != nil || !errors.Is(got[1].Err, eventlog.ErrTooLarge) || got[2].Err != nil {
		t.Errorf("got %+v", got)
	}
}

// Tails begin while the log is opened anew, again and again. The race detector watches what
// they share.
func TestTailsBeginWhileItIsOpenedAnew(t *testing.T) {
	s := natstest.Start(t)
	l := connect(t, natslog.Options{URL: s.URL, Logger: slog.New(slog.DiscardHandler)})
	js := jetStream(t, s.URL)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	tailing, stop := context.WithCancel(ctx)
	defer stop()
	for range 32 {
		wg.Go(func() {
			for tailing.Err() == nil {
				for generation := range uint64(8) {
					for range l.Tail(tailing, generation, 0) {
						break
					}
				}
				runtime.Gosched()
			}
		})
	}
	for range 6 {
		before := state(t, l)
		if err := js.DeleteStream(ctx, natslog.DefaultStream); err != nil {
			t.Fatal(err)
		}
		nextState(t, l, before)
		appendSoon(t, l, []eventlog.Message{{Topic: "a"}}) // the server sometimes drops a message for a stream that was just made
	}
}

// If the context of an Append ends on the way, a beginning of the batch is stored, and
// nothing after a message that is not.
func TestAppendCutOffStoresABeginning(t *testing.T) {
	l := connect(t, natslog.Options{URL: natstest.Start(t).URL})
	batch := make([]eventlog.Message, 1000)
	for i := range batch {
		batch[i] = eventlog.Message{Topic: "a", Data: fmt.Sprint(i)}
	}
	cut := 0
	for try := range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+try)*time.Millisecond)
		if a := l.Append(ctx, batch); a[len(a)-1].Err != nil {
			cut++
		}
		cancel()
		// The message that is under way is stored before this one.
		mustAppend(t, l, []eventlog.Message{{Topic: "b"}})
	}
	if cut == 0 {
		t.Error("no Append was cut off: the test is blind")
	}
	next := 0
	for _, r := range everything(t, l) {
		switch {
		case r.Topic == "b":
			next = 0
		case r.Data != fmt.Sprint(next):
			t.Fatalf("record %d is %s, and %d is next", r.Seq, r.Data, next)
		default:
			next++
		}
	}
}
