package jetlog_test

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
	"example.com/tidings/eventlog/jetlog"
	"example.com/tidings/eventlog/logtest"
	"example.com/tidings/topics"
)

// connect connects to a server, and fails the test if it cannot.
func connect(t testing.TB, opts jetlog.ClusterOptions) *jetlog.Log {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = quiet(t)
	}
	l, err := jetlog.Connect(t.Context(), &opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestExternal(t *testing.T) {
	s := startNATS(t)
	n := 0
	name := func() string { return fmt.Sprintf("test%d", n) }
	logtest.Run(t, logtest.Kit{
		Open: func(t *testing.T) eventlog.Log {
			n++
			return connect(t, jetlog.ClusterOptions{URL: s.url, Stream: name()})
		},
		Reopen: func(t *testing.T) eventlog.Log {
			return connect(t, jetlog.ClusterOptions{URL: s.url, Stream: name()})
		},
		OpenSmall: func(t *testing.T, maxBytes int64, maxAge time.Duration) eventlog.Log {
			n++
			return connect(t, jetlog.ClusterOptions{URL: s.url, Stream: name(), MaxBytes: maxBytes, MaxAge: maxAge})
		},
	})
}

// Two processes with the same stream share its order, its epoch and its keys.
func TestExternalTwoNodes(t *testing.T) {
	s := startNATS(t)
	var logs [2]*jetlog.Log
	var wg sync.WaitGroup
	for i := range logs {
		wg.Go(func() {
			var err error
			if logs[i], err = jetlog.Connect(t.Context(), &jetlog.ClusterOptions{URL: s.url, Logger: quiet(t)}); err != nil {
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
	if first != (eventlog.Appended{ID: at(1)}) || second[0] != (eventlog.Appended{ID: at(1), Repeat: true}) || second[1] != (eventlog.Appended{ID: at(2)}) {
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
func TestExternalServerRestarts(t *testing.T) {
	s := startNATS(t)
	l := connect(t, jetlog.ClusterOptions{URL: s.url})
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
	s.kill()
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
	s.start(t)
	for {
		a := l.Append(ctx, []eventlog.Message{{Topic: "a", Data: "after"}})[0]
		if a.Err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("Append fails still: %v", a.Err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	<-done
	if !slices.Equal(got, []string{"before", "after"}) {
		t.Errorf("the tail yields %q", got)
	}
}

// A stream that is deleted and made again has another epoch and another generation. The tail
// ends, and no method answers for the old generation.
func TestExternalStreamMadeAgain(t *testing.T) {
	s := startNATS(t)
	l := connect(t, jetlog.ClusterOptions{URL: s.url})
	mustAppend(t, l, []eventlog.Message{{Topic: "a"}, {Topic: "a"}})
	before := state(t, l)
	nc, err := nats.Connect(s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, _ := jetstream.New(nc)
	if err := js.DeleteStream(t.Context(), jetlog.DefaultStream); err != nil {
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
	after := nextState(ctx, t, l, before)
	if len(after.Epochs) != 1 || after.Epochs[0] == before.Epochs[0] || after.Last != 0 {
		t.Errorf("the state was %+v and is %+v", before, after)
	}
	if a := l.Append(ctx, []eventlog.Message{{Topic: "a"}})[0]; a != (eventlog.Appended{ID: after.Epochs.Position(1)}) {
		t.Errorf("Append: %+v", a)
	}
	wantReopened(t, l, before.Generation)
	if st := state(t, l); st.Last != 1 {
		t.Errorf("the state is %+v", st)
	}
}

// nextState waits until the log is opened anew, and returns its state.
func nextState(ctx context.Context, t *testing.T, l eventlog.Log, before eventlog.State) eventlog.State {
	t.Helper()
	for {
		st, err := l.State(ctx)
		if err == nil && st.Generation != before.Generation {
			return st
		}
		if ctx.Err() != nil {
			t.Fatalf("the log is not opened anew: %+v, %v", st, err)
		}
		time.Sleep(time.Millisecond)
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
func TestExternalHoles(t *testing.T) {
	s := startNATS(t)
	l := connect(t, jetlog.ClusterOptions{URL: s.url})
	mustAppend(t, l, slices.Repeat([]eventlog.Message{{Topic: "a"}, {Topic: "b"}}, 10))
	nc, err := nats.Connect(s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, _ := jetstream.New(nc)
	stream, err := js.Stream(t.Context(), jetlog.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(5); seq <= 8; seq++ {
		if err := stream.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	// A log finds them by reading everything, or when it is opened.
	wantHole(t, l, "**", 0, 20, 5, 8)
	for _, pattern := range []string{"**", "a", "none"} {
		wantHole(t, connect(t, jetlog.ClusterOptions{URL: s.url}), pattern, 0, 20, 5, 8)
	}
	// Where the newest of a topic is deleted, the one before is the newest.
	if err := stream.DeleteMsg(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	fs, err := topics.ParseFilters("**")
	if err != nil {
		t.Fatal(err)
	}
	if seqs, through, err := l.Newest(t.Context(), fs, 0, 20, 10); err != nil || !slices.Equal(seqs, []uint64{18, 19}) || through <= 18 {
		t.Errorf("Newest: %v, %d, %v", seqs, through, err)
	}
}

func TestConnectErrors(t *testing.T) {
	s := startNATS(t)
	nc, err := nats.Connect(s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, _ := jetstream.New(nc)
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
		opts jetlog.ClusterOptions
		want string
	}{
		{"nobody there", jetlog.ClusterOptions{URL: "nats://user:secret@127.0.0.1:1"}, "no connection to NATS at nats://user:xxxxx@127.0.0.1:1"},
		{"no file", jetlog.ClusterOptions{URL: s.url, CredentialsFile: "does-not-exist"}, "does-not-exist"},
		{"another's stream", jetlog.ClusterOptions{URL: s.url, Stream: "other"}, `the stream "other" is not one of Tidings: its subjects`},
		{"limits by subject", jetlog.ClusterOptions{URL: s.url, Stream: "perSubject"}, "retention"},
		{"a bad name", jetlog.ClusterOptions{URL: s.url, Stream: "a.b"}, "may have only letters"},
		{"replicas without a cluster", jetlog.ClusterOptions{URL: s.url, Stream: "three", Replicas: 3}, "cannot be made"},
		{"half a certificate", jetlog.ClusterOptions{URL: s.url, CertFile: "x"}, "together"},
		{"a long window", jetlog.ClusterOptions{URL: s.url, Stream: "w", MaxAge: time.Minute, DedupWindow: time.Hour}, "longer than"},
	} {
		row.opts.Logger = quiet(t)
		l, err := jetlog.Connect(t.Context(), &row.opts)
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
	s := startNATS(t)
	connect(t, jetlog.ClusterOptions{URL: s.url, MaxAge: time.Hour, MaxBytes: 1 << 20})
	connect(t, jetlog.ClusterOptions{URL: s.url, MaxAge: 2 * time.Hour})
	nc, err := nats.Connect(s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, _ := jetstream.New(nc)
	stream, err := js.Stream(t.Context(), jetlog.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	if c := stream.CachedInfo().Config; c.MaxAge != 2*time.Hour || c.MaxBytes != 1<<20 || c.Duplicates != jetlog.DefaultDedupWindow {
		t.Errorf("the stream has the age %v, %d bytes, the window %v", c.MaxAge, c.MaxBytes, c.Duplicates)
	}
}

// Append does not send a message that the server would refuse.
func TestExternalTooLarge(t *testing.T) {
	s := startNATS(t)
	l := connect(t, jetlog.ClusterOptions{URL: s.url})
	got := l.Append(t.Context(), []eventlog.Message{
		{Topic: "a", Data: strings.Repeat("x", 1<<20)},
		{Topic: "a", Type: "t", Data: strings.Repeat("x", 1<<20)},
		{Topic: "a", Data: "x"},
	})
	if got[0].Err != nil || !errors.Is(got[1].Err, eventlog.ErrTooLarge) || got[2].Err != nil {
		t.Errorf("got %+v", got)
	}
}

// Tails begin while the log is opened anew, again and again. The race detector watches what
// they share.
func TestExternalTailsBeginWhileItIsOpenedAnew(t *testing.T) {
	s := startNATS(t)
	l := connect(t, jetlog.ClusterOptions{URL: s.url, Logger: slog.New(slog.DiscardHandler)})
	nc, err := nats.Connect(s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, _ := jetstream.New(nc)
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
		if err := js.DeleteStream(ctx, jetlog.DefaultStream); err != nil {
			t.Fatal(err)
		}
		nextState(ctx, t, l, before)
		mustAppend(t, l, []eventlog.Message{{Topic: "a"}})
	}
}
