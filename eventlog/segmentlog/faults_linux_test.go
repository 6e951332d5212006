package segmentlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/tidings/eventlog"
)

// Without room for a new segment, publishers get ErrFull and readers go on. Once there is
// room, publishers go on by themselves, and no file hides the numbers of another.
func TestNoRoomForASegment(t *testing.T) {
	for _, call := range []string{"create", "rename", "syncDir"} {
		t.Run(call, func(t *testing.T) {
			files := &faulty{}
			opts := Options{Sync: time.Second, Dir: t.TempDir(), segmentBytes: 64 << 10, files: files}
			l := opened(t, opts)
			want := map[uint64]string{}
			appendSoon(t, l, want)
			files.set(func(c, name string) error {
				if c == call && filepath.Ext(name) != sidecarSuffix {
					return unix.ENOSPC
				}
				return nil
			})
			if err := fillUntil(t, l, want, 1000); !errors.Is(err, eventlog.ErrFull) {
				t.Fatalf("the error is %v, want ErrFull", err)
			}
			wantAll(t, l, want)
			for range 3 { // small messages fill what is left of the segment
				await(t, "another attempt", func() bool {
					err := fillUntil(t, l, want, 1)
					return errors.Is(err, eventlog.ErrFull)
				})
			}
			files.set(nil)
			appendSoon(t, l, want)
			fillUntilRoll(t, l, want)
			wantAll(t, l, want)
			killed := copyFolder(t, opts.Dir)
			closeLog(t, l)
			for _, dir := range []string{opts.Dir, killed} {
				l = opened(t, Options{Dir: dir})
				wantAll(t, l, want)
				closeLog(t, l)
			}
		})
	}
}

// fillUntilRoll appends until there is a new segment.
func fillUntilRoll(t *testing.T, l *Log, want map[uint64]string) {
	t.Helper()
	for n := len(l.list()); len(l.list()) == n; {
		data := strings.Repeat("y", 1000)
		want[publish(t, l, eventlog.Message{Topic: "a", Data: data})[0]] = data
	}
}

// A group for which the disk has no room is refused with ErrFull, and none of its messages
// appears later: neither now nor after a start.
func TestNoRoomForAGroup(t *testing.T) {
	files := &faulty{torn: 1000}
	opts := Options{Dir: t.TempDir(), files: files}
	l := opened(t, opts)
	want := map[uint64]string{}
	appendSoon(t, l, want)
	refused := make([]eventlog.Message, 30)
	for i := range refused {
		refused[i] = eventlog.Message{Topic: "a", Key: fmt.Sprint("k", i), Data: "refused"}
	}
	files.set(fails("write", segmentSuffix, unix.ENOSPC))
	for range 2 {
		for i, a := range l.Append(t.Context(), refused) {
			if !errors.Is(a.Err, eventlog.ErrFull) {
				t.Fatalf("message %d: %+v, want ErrFull", i, a)
			}
		}
	}
	wantAll(t, l, want)
	files.set(nil)
	check := func(l *Log) {
		t.Helper()
		wantAll(t, l, want)
		if c := read(t, l); len(c.records) != len(want) {
			t.Errorf("there are %d records, want %d", len(c.records), len(want))
		}
	}
	killed := opened(t, Options{Dir: copyFolder(t, opts.Dir)})
	check(killed)
	closeLog(t, killed)
	appendSoon(t, l, want)
	check(l)
	killed = opened(t, Options{Dir: copyFolder(t, opts.Dir)})
	check(killed)
	closeLog(t, killed)
	if a := l.Append(t.Context(), refused[:1])[0]; a.Err != nil || a.Repeat {
		t.Errorf("a message that was refused is sent again: %+v", a)
	}
	closeLog(t, l)
}

// A process that may open no more files cannot make a segment. That ends nothing.
func TestTooManyOpenFiles(t *testing.T) {
	files := &faulty{}
	l := opened(t, Options{files: files, segmentBytes: 64 << 10, Logger: quiet()})
	want := map[uint64]string{}
	files.set(fails("create", spareSuffix, &os.PathError{Op: "open", Path: "x", Err: unix.EMFILE}))
	if err := fillUntil(t, l, want, 1000); !errors.Is(err, unix.EMFILE) || errors.Is(err, eventlog.ErrFailed) {
		t.Errorf("the error is %v", err)
	}
	files.set(nil)
	appendSoon(t, l, want)
	fillUntilRoll(t, l, want)
	wantAll(t, l, want)
	if l.Err() != nil {
		t.Error(l.Err())
	}
	closeLog(t, l)
}

// A start on a folder that fails leaves no goroutine and no open file.
func TestFailedStart(t *testing.T) {
	dir := t.TempDir()
	l := opened(t, Options{Dir: dir, segmentBytes: 64 << 10})
	publishMany(t, l, 2000, 100)
	closeLog(t, l)
	for _, fault := range []struct{ call, name string }{
		{"create", spareSuffix}, {"rename", segmentSuffix}, {"create", epochsFile}, {"write", stateFile},
		{"sync", stateFile}, {"open", stateFile}, {"readFile", formatFile},
	} {
		files := &faulty{fault: fails(fault.call, fault.name, errDisk)}
		l, err := Open(t.Context(), &Options{Dir: dir, files: files, Logger: quiet()})
		if !errors.Is(err, errDisk) {
			t.Errorf("%v: Open returns %v", fault, err)
		}
		if err == nil {
			closeLog(t, l)
		}
		if n := openIn(t, dir); n != 0 {
			t.Errorf("%v: %d files are open", fault, n)
		}
	}
	l = opened(t, Options{Dir: dir})
	if c := read(t, l); len(c.records) != 2000 || len(c.lost) > 0 {
		t.Errorf("%d records, lost: %v", len(c.records), c.lost)
	}
	closeLog(t, l)
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	if slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, ".new") || isSpare(name) }) {
		t.Errorf("files are left: %v", names)
	}
}

// A start forces to the disk what a killed process had not yet, before it says that it is
// there. It does not touch what was on the disk.
func TestStartSyncsWhatAKilledProcessWrote(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Sync: time.Hour, segmentBytes: 64 << 10, Logger: quiet()}
	l := opened(t, opts)
	publishMany(t, l, 2000, 100)
	closeLog(t, l)
	before := segmentFiles(t, opts.Dir)
	l = opened(t, opts)
	publishMany(t, l, 2000, 100)
	dir := copyFolder(t, opts.Dir)
	closeLog(t, l)
	opts.Dir = dir
	for i, synced := range syncedByStart(t, opts) {
		if old := i < len(before); synced == old {
			t.Errorf("segment %d, of which %d were on the disk, is synced: %v", i, len(before), synced)
		}
	}
}

// syncedByStart opens a log, closes it, and returns which of its segments the start has forced
// to the disk.
func syncedByStart(t *testing.T, opts Options) (synced []bool) {
	t.Helper()
	var syncs sync.Map
	files := &faulty{fault: func(call, name string) error {
		if call == "sync" {
			syncs.Store(name, true)
		}
		return nil
	}}
	names := segmentFiles(t, opts.Dir)
	opts.files = files
	l := opened(t, opts)
	files.set(nil)
	closeLog(t, l)
	for _, name := range names {
		_, ok := syncs.Load(name)
		synced = append(synced, ok)
	}
	return synced
}

// A start forces all segments to the disk if the system may have more than the disk anywhere: a
// process was killed while it erased records, or the folder is a copy.
func TestStartSyncsAllSegments(t *testing.T) {
	files := &faulty{}
	opts := Options{Dir: t.TempDir(), segmentBytes: 64 << 10, Logger: quiet(), files: files}
	l := opened(t, opts)
	publishMany(t, l, 2000, 100)
	copied := t.TempDir()
	closeLog(t, l)
	if err := os.CopyFS(copied, os.DirFS(opts.Dir)); err != nil {
		t.Fatal(err)
	}
	l = opened(t, opts)
	publishMany(t, l, 1, 100)
	files.set(fails("sync", segmentSuffix, errDisk))
	if n, err := l.Remove(t.Context(), []uint64{1}); n != 0 || !errors.Is(err, errDisk) {
		t.Fatalf("Remove: %d, %v", n, err)
	}
	killed := copyFolder(t, opts.Dir)
	_ = l.Close()
	for what, dir := range map[string]string{"killed": killed, "copied": copied} {
		opts.Dir = dir
		if synced := syncedByStart(t, opts); slices.Contains(synced, false) {
			t.Errorf("%s: the start has synced %v", what, synced)
		}
	}
}
