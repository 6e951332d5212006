package segmentlog

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// epochTime is how many characters of an epoch's id encode its time.
const epochTime = 7

// A fakeClock is a clock that a test sets. It is right at first.
type fakeClock struct {
	mu      sync.Mutex
	wall    time.Time
	elapsed time.Duration
}

func (c *fakeClock) source() (time.Time, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall, c.elapsed
}

// step sets the wall clock forward or back.
func (c *fakeClock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
}

// pass lets time pass.
func (c *fakeClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
	c.elapsed += d
}

func stored(t *testing.T, l *Log, m eventlog.Message) eventlog.Position {
	t.Helper()
	a := l.Append(t.Context(), []eventlog.Message{m})[0]
	if a.Err != nil || a.Repeat {
		t.Fatalf("Append of %+v: %+v", m, a)
	}
	return a.ID
}

// While the wall clock goes back by a day with each start, neither the log's time nor the
// ids of its epochs go back, and keys count as long as they would have.
func TestRestartsWhileTheClockGoesBack(t *testing.T) {
	for _, lost := range []string{"", stateFile, epochsFile, "both"} {
		t.Run(fmt.Sprintf("lost=%s", lost), func(t *testing.T) {
			clock := &fakeClock{wall: time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC)}
			opts := Options{Dir: t.TempDir(), MaxAge: time.Hour, DedupWindow: 55 * time.Second, clock: clock.source}
			keyed := eventlog.Message{Topic: "a", Key: "k", Data: "keyed"}
			var ids []eventlog.Position
			for i := range 4 {
				l := opened(t, opts)
				for n, m := range []eventlog.Message{{Topic: "a", Data: "x"}, {Topic: "b", Data: "x"}, keyed, {Topic: "a", Data: "x"}} {
					if n == 2 && i%2 == 1 {
						// It was used 50 seconds ago by the start before.
						if a := l.Append(t.Context(), []eventlog.Message{keyed})[0]; a.Err != nil || !a.Repeat || a.ID.Seq != ids[len(ids)-4].Seq {
							t.Errorf("start %d: the key got %+v, and was used for %v", i, a, ids[len(ids)-4])
						}
					} else {
						ids = append(ids, stored(t, l, m))
					}
					clock.pass(10 * time.Second)
				}
				clock.pass(12 * time.Second) // nothing is stored
				st, err := l.State(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var records []eventlog.Record
				for _, id := range ids {
					// Without its state, a log reports that messages between may be lost.
					b, err := l.Read(t.Context(), eventlog.Query{Filters: topics.MustFilters("**"), After: id.Seq - 1, UpTo: id.Seq, MaxRecords: 1, MaxBytes: 1})
					if err != nil || len(b.Records) != 1 {
						t.Fatalf("start %d: record %d: %+v, %v", i, id.Seq, b, err)
					}
					records = append(records, b.Records[0])
				}
				if !slices.IsSortedFunc(records, func(a, b eventlog.Record) int { return a.Time.Compare(b.Time) }) {
					t.Errorf("start %d: the time goes back: %v", i, records)
				}
				for _, r := range records {
					if seq, err := l.At(t.Context(), r.Time); err != nil || seq > r.Seq {
						t.Errorf("start %d: at the time of record %d begins %d, %v", i, r.Seq, seq, err)
					}
				}
				if !slices.IsSortedFunc(st.Epochs, func(a, b eventlog.Epoch) int { return strings.Compare(a.ID[:epochTime], b.ID[:epochTime]) }) {
					t.Errorf("start %d: the ids of the epochs go back: %v", i, st.Epochs)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				for _, name := range []string{stateFile, epochsFile} {
					if lost == name || lost == "both" {
						if err := os.Remove(filepath.Join(opts.Dir, name)); err != nil {
							t.Fatal(err)
						}
					}
				}
				clock.step(-24 * time.Hour)
			}
		})
	}
}

// A process that was killed has written the time of its last message.
func TestKilledWhileTheClockGoesBack(t *testing.T) {
	clock := &fakeClock{wall: time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC)}
	opts := Options{Dir: t.TempDir(), clock: clock.source}
	l := opened(t, opts)
	clock.pass(time.Hour)
	stored(t, l, eventlog.Message{Topic: "a", Data: "x"})
	before := modelOf(t, l).records
	// What the folder has now is what a process would leave that is killed.
	copied := t.TempDir()
	files, err := filepath.Glob(filepath.Join(opts.Dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.IsDir() {
			continue // the index, which changes
		}
		b, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(copied, filepath.Base(file)), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	adopt(t, copied)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	clock.step(-24 * time.Hour)
	opts.Dir = copied
	l = opened(t, opts)
	defer l.Close()
	stored(t, l, eventlog.Message{Topic: "a", Data: "x"})
	if after := modelOf(t, l).records; len(after) != 2 || after[1].Time.Before(before[0].Time) {
		t.Errorf("before: %v, after: %v", before, after)
	}
}

// At a start the wall clock is believed: what is too old by it goes, and time goes on from it.
func TestRestartWithTheClockAhead(t *testing.T) {
	clock := &fakeClock{wall: time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC)}
	opts := Options{Dir: t.TempDir(), MaxAge: time.Hour, clock: clock.source}
	l := opened(t, opts)
	stored(t, l, eventlog.Message{Topic: "a", Key: "k", Data: "x"})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	clock.step(365 * 24 * time.Hour)
	now, _ := clock.source()
	l = opened(t, opts)
	defer l.Close()
	l.retention.use()
	await(t, "the end of the old message", func() bool {
		st, err := l.State(t.Context())
		return err == nil && st.First == 2
	})
	stored(t, l, eventlog.Message{Topic: "a", Key: "k", Data: "y"})
	if records := modelOf(t, l).records; len(records) != 1 || !records[0].Time.Equal(now) {
		t.Errorf("the records are %v, and the wall clock is at %v", records, now)
	}
}
