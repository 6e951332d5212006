package segmentlog

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// losePower makes the folder of a log that was closed one of a machine that has lost power: the
// state was written after a number was acknowledged, and synced after another one was.
func losePower(t *testing.T, dir string, synced, acknowledged uint64) {
	t.Helper()
	changeState(t, dir, func(st *state) {
		st.synced, st.acknowledged, st.boot, st.flags = synced, acknowledged, st.boot+1, 0
	})
}

// changeState changes the state of a log that is closed.
func changeState(t *testing.T, dir string, change func(*state)) {
	t.Helper()
	rewrite(t, filepath.Join(dir, stateFile), func(b []byte) []byte {
		st, ok := decodeState(b)
		if !ok {
			t.Fatal("there is no state")
		}
		st.serial++
		change(&st)
		copy(b[st.serial%2*slotBytes:], st.encode())
		return b
	})
}

// A start after a loss of power finds each hole in what was not synced, although the sidecars
// and the index know nothing of it, and says so.
func TestStartFindsWhatPowerTook(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Sync: time.Hour, segmentBytes: 1 << 20, Logger: quiet()}
	l := opened(t, opts)
	publishTopics(t, l, 70_000) // the first bucket is in the store
	l.indexed(t)
	closeLog(t, l)
	name := segmentFiles(t, opts.Dir)[2]
	rewrite(t, name, func(b []byte) []byte {
		clear(b[40<<10 : 44<<10])
		clear(b[80<<10 : 88<<10])
		return b
	})
	there := intact(t, opts.Dir)
	var first, last, lost uint64
	for seq := uint64(1); seq <= 70_000; seq++ {
		if !there[seq] {
			if lost++; first == 0 {
				first = seq
			}
			last = seq
		}
	}
	losePower(t, opts.Dir, first-10, 70_000)
	var lines bytes.Buffer
	opts.Logger = slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelError}))
	l = opened(t, opts)
	if want := fmt.Sprintf("first=%d last=%d messages=%d", first, last, lost); !bytes.Contains(lines.Bytes(), []byte(want)) {
		t.Errorf("the log says %s; want %s", lines.Bytes(), want)
	}
	if intact, err := l.intactUpTo(0, 70_000); err != nil || intact != first-1 {
		t.Errorf("everything is there up to %d, %v; want %d", intact, err, first-1)
	}
	for seq := uint64(1); seq <= 70_000; seq++ {
		if h := l.holeAfter(seq-1, 70_000); (h.first == seq) == there[seq] {
			t.Fatalf("%d is there: %v, and the next hole is %v", seq, there[seq], h)
		}
	}
	l.indexed(t)
	if n, _, err := l.Count(t.Context(), topics.MustFilters("t.1"), 0); err != nil || n != countTopics(read(t, l), "t.1") {
		t.Errorf("Count is %d, %v, and there are %d", n, err, countTopics(read(t, l), "t.1"))
	}
	for seq := first; seq <= last; seq++ {
		if (seq-1)%10 != 0 {
			continue
		}
		m := eventlog.Message{Topic: topicOf(seq), Key: fmt.Sprint("m", seq), Data: fmt.Sprint("m", seq)}
		if a := l.Append(t.Context(), []eventlog.Message{m})[0]; a.Err != nil || a.Repeat != there[seq] {
			t.Errorf("the key of %d, which is there: %v: %+v", seq, there[seq], a)
		}
	}
	closeLog(t, l)
}

// noIndex is a file system on which no index can be opened or removed.
type noIndex struct{ vfs.FS }

func (noIndex) MkdirAll(string, os.FileMode) error { return errDisk }
func (noIndex) RemoveAll(string) error             { return errDisk }

// The index on the disk may have come further than the records there. Neither the next start
// believes it, nor a later one whose numbers are beyond.
func TestIndexIsAheadAfterPowerLoss(t *testing.T) {
	for name, starts := range map[string]int{"next start": 0, "later start": 1} {
		t.Run(name, func(t *testing.T) {
			opts := Options{Dir: t.TempDir(), Sync: time.Hour, Logger: quiet()}
			l := opened(t, opts)
			const n = 10
			message := func(i int) eventlog.Message {
				return eventlog.Message{Topic: "a", Key: fmt.Sprint("k", i), Data: fmt.Sprint("d", i)}
			}
			for i := range n {
				publish(t, l, message(i+1))
			}
			closeLog(t, l)
			// The last record is the only one that is gone, and nothing tells of it.
			rewrite(t, segmentFiles(t, opts.Dir)[0], func(b []byte) []byte { clear(b[len(b)*(n-1)/n-1:]); return b })
			lost := n - len(intact(t, opts.Dir))
			losePower(t, opts.Dir, uint64(n-lost), uint64(n-lost))
			for range starts {
				without := opts
				without.indexFiles = noIndex{vfs.Default}
				l = opened(t, without)
				publishMany(t, l, 20, 10)
				dir := copyFolder(t, opts.Dir) // as kill -9 leaves it
				closeLog(t, l)
				opts.Dir = dir
			}
			l = opened(t, opts)
			for i := range n {
				m := message(i + 1)
				if a := l.Append(t.Context(), []eventlog.Message{m})[0]; a.Err != nil || a.Repeat != (i < n-lost) {
					t.Errorf("the key of %d, of which the last %d are lost: %+v", i+1, lost, a)
				}
			}
			closeLog(t, l)
		})
	}
}

// Messages that had expired are there again if the power failed before the disk had the state.
// The index on the disk lacks them, and is not believed.
func TestExpiredMessagesAreBackAfterPowerLoss(t *testing.T) {
	const first, n = bucketSize - 36, 50
	opts := Options{Dir: t.TempDir(), MaxAge: -1, MaxBytes: 10_000, segmentBytes: 64 << 10, Logger: quiet()}
	closeLog(t, opened(t, opts))
	changeState(t, opts.Dir, func(st *state) { st.first, st.acknowledged, st.synced = first, first-1, first-1 })
	l := opened(t, opts)
	for range n {
		publish(t, l, eventlog.Message{Topic: "a", Data: strings.Repeat("x", 300)})
	}
	l.indexed(t)
	if l.first.Load() == first || l.index.applied != 1 {
		t.Fatalf("the first number is %d, and %d buckets are in the store", l.first.Load(), l.index.applied)
	}
	closeLog(t, l)
	losePower(t, opts.Dir, first+n-1, first+n-1)
	changeState(t, opts.Dir, func(st *state) { st.first = first })
	opts.MaxBytes = -1
	l = opened(t, opts)
	l.indexed(t)
	if c, _, err := l.Count(t.Context(), topics.MustFilters("a"), 0); err != nil || c != n || len(read(t, l).records) != n {
		t.Errorf("Count is %d, %v, and %d are there; want %d", c, err, len(read(t, l).records), n)
	}
	closeLog(t, l)
}
