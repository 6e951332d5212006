package segmentlog

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// resumes returns the reason of the first gap that a client is told which has everything up
// to a position: by its epoch, or by the log where it goes on.
func resumes(t *testing.T, l *Log, p eventlog.Position) (reason string) {
	t.Helper()
	after, reason := l.epochs.Resolve(p)
	if reason != "" {
		return reason
	}
	b, err := l.Read(t.Context(), eventlog.Query{Filters: topics.MustFilters("a"), After: after, UpTo: l.lastSeq(), MaxRecords: 10, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return b.Reason
}

// publishedFor appends messages, and returns the position of the last one.
func (l *Log) publishedFor(t *testing.T, n int) (last eventlog.Position) {
	t.Helper()
	messages := make([]eventlog.Message, n)
	for i := range messages {
		messages[i] = eventlog.Message{Topic: "a", Data: "x"}
	}
	for _, a := range l.Append(t.Context(), messages) {
		if a.Err != nil {
			t.Fatal(a.Err)
		}
		last = a.ID
	}
	return last
}

// A log that is restored from a copy of its folder tells everybody who may have missed
// messages, and no id names two messages.
func TestRestoredCopy(t *testing.T) {
	for _, live := range []bool{false, true} {
		dir, backup := t.TempDir(), filepath.Join(t.TempDir(), "restored")
		l := opened(t, Options{Dir: dir})
		early := l.publishedFor(t, 3)
		end := l.publishedFor(t, 3)
		if !live {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		copyFiles(t, dir, backup)
		os.RemoveAll(filepath.Join(backup, storePrefix))
		if !live {
			l = opened(t, Options{Dir: dir})
		}
		later := l.publishedFor(t, 2) // what the backup lacks
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		restored := opened(t, Options{Dir: backup})
		fresh := restored.publishedFor(t, 5)
		for name, p := range map[string]eventlog.Position{"in the middle of the backup": early, "at its end": end, "after it": later} {
			want := sse.GapLost
			switch {
			case name == "in the middle of the backup":
				want = "" // it is told at the end of the backup
			case name == "after it" && !live:
				want = sse.GapUnknown // the backup does not know that epoch
			}
			if got := resumes(t, restored, p); got != want {
				t.Errorf("live %v: a client %s is told %q, want %q", live, name, got, want)
			}
		}
		if got := resumes(t, restored, fresh); got != "" {
			t.Errorf("a client of the restored log is told %q", got)
		}
		if later == fresh {
			t.Errorf("%v names two messages", later)
		}
		if err := restored.Close(); err != nil {
			t.Fatal(err)
		}
		// The next start is in no doubt.
		again := opened(t, Options{Dir: backup})
		if got := resumes(t, again, fresh); got != "" {
			t.Errorf("after another start the client is told %q", got)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A start in doubt leaves a number out. A client that has it from before is told of what it
// misses, as everybody else is.
func TestDoubtIsToldEverybody(t *testing.T) {
	dir := t.TempDir()
	l := opened(t, Options{Dir: dir})
	last := l.publishedFor(t, 6)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, stateFile)); err != nil {
		t.Fatal(err)
	}
	l = opened(t, Options{Dir: dir})
	defer l.Close()
	l.publishedFor(t, 1)
	for seq := last.Seq; seq < last.Seq+4; seq++ {
		if got := resumes(t, l, eventlog.Position{Epoch: last.Epoch, Seq: seq}); got != sse.GapLost {
			t.Errorf("a client that has everything up to %d is told %q", seq, got)
		}
	}
	if first := l.epochs.Position(last.Seq + 1); first.Epoch == last.Epoch {
		t.Errorf("the end of the gap, %v, is an id of the epoch before", first)
	}
}

// A backup that was made as docs/durability.md says, while messages were published, has all
// messages of its segments, and its start tells everybody who has more.
func TestBackupWhileRunning(t *testing.T) {
	dir, backup, restored := t.TempDir(), t.TempDir(), t.TempDir()
	l := opened(t, Options{Dir: dir, Sync: time.Second, segmentBytes: 64 << 10})
	early := l.publishedFor(t, 1)
	l.publishedFor(t, 3000)
	var stop atomic.Bool
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for !stop.Load() {
			l.Append(t.Context(), []eventlog.Message{{Topic: "a", Data: "x"}})
		}
	})
	files := segmentFiles(t, dir)
	files = files[:len(files)-1]
	for _, path := range files {
		if err := os.Link(path, filepath.Join(backup, filepath.Base(path))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{formatFile, epochsFile, stateFile} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(backup, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	publishing.Wait()
	late := l.publishedFor(t, 1)
	closeLog(t, l)
	if err := os.CopyFS(restored, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	newest, _, _ := parseSegmentName(filepath.Base(segmentFiles(t, dir)[len(files)]))
	l = opened(t, Options{Dir: restored})
	defer closeLog(t, l)
	c := read(t, l)
	if uint64(len(c.records)) != newest-1 || len(c.lost) != 1 || c.lost[0].first != newest {
		t.Errorf("the backup has %d messages and has lost %v, want %d and all from there on", len(c.records), c.lost, newest-1)
	}
	if got := resumes(t, l, early); got != "" {
		t.Errorf("a client in the middle of the backup is told %q", got)
	}
	if got := resumes(t, l, late); got != sse.GapLost {
		t.Errorf("a client after the backup is told %q, want lost", got)
	}
}
