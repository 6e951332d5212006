package natslog_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/natslog"
	"example.com/tidings/internal/natstest"
	"example.com/tidings/sse"
)

// topicA returns n messages on the topic a.
func topicA(n int) []eventlog.Message {
	return slices.Repeat([]eventlog.Message{{Topic: "a"}}, n)
}

// mustRemove removes records, and fails the test if one is not there.
func mustRemove(t *testing.T, l eventlog.Log, seqs ...uint64) {
	t.Helper()
	if n, err := l.Remove(t.Context(), seqs); n != len(seqs) || err != nil {
		t.Fatalf("Remove(%v) = %d, %v", seqs, n, err)
	}
}

// The log that has removed records says so, also of the oldest and of the newest. A log that
// is opened later does not know why they are missing, and neither does another process.
func TestRemovedElsewhere(t *testing.T) {
	opts := natslog.Options{URL: natstest.Start(t).URL}
	l, other := connect(t, opts), connect(t, opts)
	mustAppend(t, l, topicA(12))
	mustRemove(t, l, 5, 7, 6)
	for _, pattern := range []string{"**", "a", "none"} {
		wantHole(t, l, pattern, 0, 12, 5, 7, sse.GapRemoved)
		wantHole(t, connect(t, opts), pattern, 0, 12, 5, 7, sse.GapLost)
	}
	wantHole(t, other, "**", 0, 12, 5, 7, sse.GapLost)
	mustRemove(t, other, 8)
	wantHole(t, other, "**", 7, 12, 8, 8, sse.GapRemoved)
	mustRemove(t, l, 1, 2, 12)
	wantHole(t, l, "**", 0, 4, 1, 2, sse.GapRemoved)
	wantHole(t, l, "**", 8, 12, 12, 12, sse.GapRemoved)
	wantHole(t, other, "**", 0, 4, 1, 2, sse.GapExpired)
}

// What is removed is in no file of the server: neither the data nor the type.
func TestRemoveErases(t *testing.T) {
	s := natstest.Start(t)
	l := connect(t, natslog.Options{URL: s.URL, Logger: slog.New(slog.DiscardHandler)})
	mustAppend(t, l, []eventlog.Message{{Topic: "a", Data: "kept-1"}, {Topic: "a", Type: "secret-2", Key: "k", Data: "secret-1"}, {Topic: "b", Data: "secret-3"}, {Topic: "a", Data: "kept-2"}})
	mustRemove(t, l, 2)
	if n, err := l.RemoveTopic(t.Context(), "b", 10); n != 1 || err != nil {
		t.Fatalf("RemoveTopic: %d, %v", n, err)
	}
	s.Stop()
	kept := false
	err := filepath.WalkDir(s.Dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		kept = kept || bytes.Contains(content, []byte("kept-1")) && bytes.Contains(content, []byte("kept-2"))
		if bytes.Contains(content, []byte("secret")) {
			t.Errorf("%s still has it", name)
		}
		return err
	})
	if err != nil || !kept {
		t.Errorf("no file has what is kept (%v): the test is blind", err)
	}
}

// Numbers of a stream that was made again are not those that the caller means.
func TestRemoveFromAStreamMadeAgain(t *testing.T) {
	opts := natslog.Options{URL: natstest.Start(t).URL, Logger: slog.New(slog.DiscardHandler)}
	l := connect(t, opts)
	mustAppend(t, l, topicA(2))
	before := state(t, l)
	js := jetStream(t, opts.URL)
	stream, err := js.Stream(t.Context(), natslog.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	// Another epoch makes it another stream.
	config := stream.CachedInfo().Config
	config.Metadata["tidings-epoch"] = eventlog.NewEpochID(time.Now())
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Remove(t.Context(), []uint64{1}); !errors.Is(err, eventlog.ErrReopened) && state(t, l).Generation == before.Generation {
		t.Errorf("Remove: %d, %v", n, err)
	}
}

// The server loses the end of the stream, because it was restored from a backup. The log is
// opened anew with a new epoch, and still knows what it has removed.
func TestLostEnd(t *testing.T) {
	s := natstest.Start(t)
	l := connect(t, natslog.Options{URL: s.URL, Logger: slog.New(slog.DiscardHandler)})
	mustAppend(t, l, topicA(5))
	mustRemove(t, l, 3)
	s.Stop()
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(s.Dir)); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	appendSoon(t, l, topicA(1))
	mustAppend(t, l, topicA(3))
	mustRemove(t, l, 7)
	before := state(t, l)
	s.Stop()
	if err := errors.Join(os.RemoveAll(s.Dir), os.CopyFS(s.Dir, os.DirFS(backup))); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	after := nextState(t, l, before)
	if want := append(slices.Clone(before.Epochs), eventlog.Epoch{ID: after.Epochs[1].ID, First: 6, Cut: true}); after.Last != 5 || !slices.Equal(after.Epochs, want) {
		t.Errorf("the state was %+v and is %+v", before, after)
	}
	wantReopened(t, l, before.Generation)
	mustAppend(t, l, topicA(3))
	wantHole(t, l, "**", 0, 8, 3, 3, sse.GapRemoved)
}

// A key may be used again once its message is removed, or has expired. Two processes that do
// so at the same time agree on one message.
func TestKeyOfAMessageThatIsGone(t *testing.T) {
	opts := natslog.Options{URL: natstest.Start(t).URL, MaxBytes: 64 << 10}
	logs := []*natslog.Log{connect(t, opts), connect(t, opts)}
	both := func(m eventlog.Message) eventlog.Position {
		t.Helper()
		var results [2]eventlog.Appended
		var wg sync.WaitGroup
		for i, l := range logs {
			wg.Go(func() { results[i] = l.Append(t.Context(), []eventlog.Message{m})[0] })
		}
		wg.Wait()
		if results[0].Err != nil || results[1].Err != nil || results[0].ID != results[1].ID || results[0].Repeat == results[1].Repeat {
			t.Fatalf("got %+v", results)
		}
		return results[0].ID
	}
	var last uint64
	for round := range 4 {
		m := eventlog.Message{Topic: "a", Key: "k", Data: fmt.Sprint(round)}
		id := both(m)
		if id.Seq <= last {
			t.Fatalf("round %d got %d, after %d", round, id.Seq, last)
		}
		last = id.Seq
		m.Data = "another"
		if a := logs[round%2].Append(t.Context(), []eventlog.Message{m})[0]; !errors.Is(a.Err, eventlog.ErrKeyConflict) {
			t.Errorf("another message with the key got %+v", a)
		}
		if round%2 == 0 {
			mustRemove(t, logs[0], id.Seq)
			continue
		}
		for state(t, logs[0]).First <= id.Seq {
			mustAppend(t, logs[0], []eventlog.Message{{Topic: "b", Data: strings.Repeat("x", 4<<10)}})
		}
	}
}
