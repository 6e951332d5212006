package segmentlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tidings/eventlog"
)

// An error of the disk, but for one that says that there is no room, ends writing at once and
// for good. Who was being served gets an error, later ones ErrFailed. Readers go on, nothing
// expires any more, and everything acknowledged is there after the next start.
func TestDiskFails(t *testing.T) {
	for _, tt := range []struct {
		call, file string
		sync       time.Duration
		unwritten  bool // nothing of the message that meets the error is written
	}{
		{"sync", segmentSuffix, 0, false},
		{"sync", segmentSuffix, 5 * time.Millisecond, true},
		{"write", segmentSuffix, 0, false},
		{"write", segmentSuffix, time.Second, false},
		{"write", stateFile, 0, false},
		{"write", stateFile, time.Second, false},
		{"sync", stateFile, 5 * time.Millisecond, true},
		{"create", spareSuffix, 0, true},
		{"rename", segmentSuffix, 0, true},
		{"syncDir", "", 0, true},
	} {
		t.Run(fmt.Sprint(tt.call, tt.file, tt.sync), func(t *testing.T) {
			files := &faulty{}
			opts := Options{Dir: t.TempDir(), Sync: tt.sync, files: files, segmentBytes: 64 << 10, Logger: quiet()}
			l := opened(t, opts)
			want := map[uint64]string{}
			for range 10 {
				appendSoon(t, l, want)
			}
			select {
			case <-l.Failed():
				t.Fatal("the log has failed")
			default:
			}
			if err := l.Err(); err != nil {
				t.Fatal(err)
			}
			files.set(fails(tt.call, tt.file, errDisk))
			err := fillUntil(t, l, want, 100)
			if !errors.Is(err, errDisk) || errors.Is(err, eventlog.ErrFailed) != tt.unwritten {
				t.Errorf("the error is %v", err)
			}
			<-l.Failed()
			failure := l.Err()
			if s := fmt.Sprint(failure); !errors.Is(failure, eventlog.ErrFailed) || !strings.Contains(s, opts.Dir) || !strings.Contains(s, errDisk.Error()) || strings.Contains(s, "\n") {
				t.Errorf("Err: %v", failure)
			}
			files.set(nil)
			for _, key := range []string{"", "k"} {
				if a := l.Append(t.Context(), []eventlog.Message{{Topic: "a", Key: key}}); !errors.Is(a[0].Err, eventlog.ErrFailed) {
					t.Errorf("later: %+v", a)
				}
			}
			if n, err := l.Remove(t.Context(), []uint64{1}); !errors.Is(err, eventlog.ErrFailed) {
				t.Errorf("Remove: %d, %v", n, err)
			}
			wantAll(t, l, want)
			_ = l.Close()
			if got := l.Err(); got != failure {
				t.Errorf("after Close, Err is %v", got)
			}
			l = opened(t, Options{Dir: opts.Dir})
			wantAll(t, l, want)
			appendSoon(t, l, want)
			closeLog(t, l)
		})
	}
}

// Of the messages that wait while the disk fails, those that it was given get an error from
// which nobody can tell whether they are stored. The others get ErrFailed, and are not there:
// those that did not fit into the group, and those that came later.
func TestPublishersUnderWayWhenTheDiskFails(t *testing.T) {
	files := &faulty{}
	opts := Options{Dir: t.TempDir(), files: files, Logger: quiet()}
	l := opened(t, opts)
	syncing, proceed := make(chan struct{}), make(chan error)
	files.set(func(call, name string) error {
		if call != "sync" {
			return nil
		}
		syncing <- struct{}{}
		return <-proceed
	})
	var all sync.WaitGroup
	push := func(data string, n int) (errs []error) {
		errs = make([]error, n)
		queued := l.writer.queued()
		all.Go(func() {
			for i, a := range l.Append(t.Context(), slices.Repeat([]eventlog.Message{{Topic: "a", Data: data}}, n)) {
				errs[i] = a.Err
			}
		})
		await(t, "the publisher", func() bool { return data == "first" || l.writer.queued() > queued })
		return errs
	}
	first := push("first", 1)
	<-syncing
	// While it is synced, others gather: more than fit into a group. Small requests would go first.
	large := push(strings.Repeat("x", 1<<20), 5)
	waits := push("waits", small/len("waits"))
	proceed <- nil
	<-syncing
	late := push("late", 1)
	proceed <- errDisk
	all.Wait()
	if first[0] != nil {
		t.Errorf("before the error: %v", first)
	}
	for _, err := range large {
		if !errors.Is(err, errDisk) || errors.Is(err, eventlog.ErrFailed) {
			t.Errorf("under way: %v", err)
		}
	}
	for _, err := range append(waits, late...) {
		if !errors.Is(err, eventlog.ErrFailed) {
			t.Errorf("later: %v", err)
		}
	}
	files.set(nil)
	_ = l.Close()
	l = opened(t, Options{Dir: opts.Dir, Logger: quiet()})
	for _, r := range read(t, l).records {
		if r.Data == "waits" || r.Data == "late" {
			t.Error("a message is stored whose publisher got ErrFailed")
		}
	}
	closeLog(t, l)
}

// After a failure the log removes nothing: it is not known what the disk has.
func TestNothingExpiresAfterAFailure(t *testing.T) {
	files := &faulty{}
	clock := &fakeClock{wall: time.Now()}
	var asked atomic.Int64
	opts := Options{Dir: t.TempDir(), files: files, Logger: quiet(), segmentBytes: 64 << 10, MaxAge: 160 * time.Millisecond} // looked at every 10 ms
	opts.clock = func() (time.Time, time.Duration) {
		asked.Add(1)
		return clock.source()
	}
	l := opened(t, opts)
	publishMany(t, l, 1000, 200)
	files.set(fails("sync", segmentSuffix, errDisk))
	if err := fillUntil(t, l, map[uint64]string{}, 1); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	first, names := l.first.Load(), segmentFiles(t, opts.Dir)
	clock.pass(time.Hour)
	before := asked.Load()
	await(t, "retention", func() bool { return asked.Load() > before+5 })
	if err := l.retention.expire(); err != nil {
		t.Error(err)
	}
	if got := l.first.Load(); got != first {
		t.Errorf("the first number is %d, and was %d", got, first)
	}
	if got := segmentFiles(t, opts.Dir); len(got) < len(names) {
		t.Errorf("there are %d segments, and were %d", len(got), len(names))
	}
	_ = l.Close()
}

// A disk that has failed once is not believed when it reports success later: the state does
// not say that what was written is on the disk.
func TestSyncAfterAFailureProvesNothing(t *testing.T) {
	files := &faulty{}
	opts := Options{Dir: t.TempDir(), files: files, Logger: quiet(), Sync: time.Hour}
	l := opened(t, opts)
	publishMany(t, l, 10, 1)
	if err := l.syncer.sync(); err != nil {
		t.Fatal(err)
	}
	publishMany(t, l, 10, 1)
	files.set(fails("write", segmentSuffix, errDisk))
	if a := l.Append(t.Context(), []eventlog.Message{{Topic: "a"}}); !errors.Is(a[0].Err, errDisk) {
		t.Fatal(a)
	}
	files.set(nil)
	_ = l.Close()
	b, err := disk{}.readFile(filepath.Join(opts.Dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	if st, ok := decodeState(b); !ok || st.synced != 10 || st.acknowledged != 20 || st.flags&stateClean != 0 {
		t.Errorf("the state is %+v, %v", st, ok)
	}
}

// A segment whose file cannot be removed is removed later.
func TestSegmentThatCannotBeRemoved(t *testing.T) {
	files := &faulty{}
	opts := Options{Dir: t.TempDir(), files: files, Logger: quiet(), segmentBytes: 64 << 10, MaxBytes: 128 << 10}
	l := opened(t, opts)
	files.set(fails("remove", segmentSuffix, errDisk))
	publishMany(t, l, 3000, 200)
	await(t, "expired segments", func() bool { return len(segmentFiles(t, opts.Dir)) > len(l.list())+3 })
	files.set(nil)
	await(t, "their removal", func() bool { return len(segmentFiles(t, opts.Dir)) == len(l.list()) })
	closeLog(t, l)
}
