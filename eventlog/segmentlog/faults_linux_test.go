package segmentlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/tidings/eventlog"
)

// wantAll checks that a log has these messages, by their numbers, and has lost nothing.
func wantAll(t *testing.T, l *Log, want map[uint64]string) {
	t.Helper()
	c := read(t, l)
	if len(c.lost) > 0 {
		t.Errorf("the log has lost %v", c.lost)
	}
	missing := 0
	for seq, data := range want {
		if c.records[seq].Data != data {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d acknowledged messages are missing", missing, len(want))
	}
}

// fillUntil appends until a message has an error, which it returns. It adds those that
// were stored to want.
func fillUntil(t *testing.T, l *Log, want map[uint64]string, size int) error {
	t.Helper()
	for i := range 200_000 {
		data := fmt.Sprint(i, strings.Repeat("x", size))
		a := l.Append(t.Context(), []eventlog.Message{{Topic: "a", Data: data}})[0]
		if a.Err != nil {
			return a.Err
		}
		want[a.ID.Seq] = data
	}
	t.Fatal("no error comes")
	return nil
}

// appendSoon tries to append until that succeeds.
func appendSoon(t *testing.T, l *Log, want map[uint64]string) {
	t.Helper()
	await(t, "room", func() bool {
		a := l.Append(t.Context(), []eventlog.Message{{Topic: "a", Data: "goes on"}})[0]
		if a.Err == nil {
			want[a.ID.Seq] = "goes on"
		}
		return a.Err == nil
	})
}

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

// After an error of the disk that publisher and all later ones get an error. Readers go on,
// and everything acknowledged is there after the next start.
func TestDiskFails(t *testing.T) {
	for _, tt := range []struct {
		call, file string
		sync       time.Duration
	}{
		{"sync", segmentSuffix, 0},
		{"sync", segmentSuffix, 5 * time.Millisecond},
		{"write", segmentSuffix, 0},
		{"write", segmentSuffix, time.Second},
		{"write", stateFile, 0},
	} {
		t.Run(fmt.Sprint(tt.call, tt.file, tt.sync), func(t *testing.T) {
			files := &faulty{}
			opts := Options{Dir: t.TempDir(), Sync: tt.sync, files: files, segmentBytes: 64 << 10}
			l := opened(t, opts)
			want := map[uint64]string{}
			for range 10 {
				appendSoon(t, l, want)
			}
			files.set(fails(tt.call, tt.file, errDisk))
			if err := fillUntil(t, l, want, 100); !errors.Is(err, errDisk) {
				t.Fatalf("the error is %v", err)
			}
			files.set(nil)
			if a := l.Append(t.Context(), []eventlog.Message{{Topic: "a"}}); !errors.Is(a[0].Err, errDisk) {
				t.Errorf("later: %+v", a)
			}
			if n, err := l.Remove(t.Context(), []uint64{1}); !errors.Is(err, errDisk) {
				t.Errorf("Remove: %d, %v", n, err)
			}
			wantAll(t, l, want)
			if err := l.Close(); !errors.Is(err, errDisk) {
				t.Errorf("Close returns %v", err)
			}
			l = opened(t, Options{Dir: opts.Dir})
			wantAll(t, l, want)
			appendSoon(t, l, want)
			closeLog(t, l)
		})
	}
}

// A slow disk slows a group, not each message: many publishers share a sync.
func TestSlowSync(t *testing.T) {
	const publishers, each = 64, 5
	files := &faulty{}
	l := opened(t, Options{files: files})
	defer closeLog(t, l)
	var syncs atomic.Int64
	files.set(func(call, name string) error {
		if call == "sync" {
			syncs.Add(1)
			time.Sleep(20 * time.Millisecond)
		}
		return nil
	})
	var all sync.WaitGroup
	for i := range publishers {
		all.Go(func() {
			for k := range each {
				if a := l.Append(t.Context(), []eventlog.Message{{Topic: "a", Data: fmt.Sprint(i, k)}})[0]; a.Err != nil {
					t.Errorf("Append: %v", a.Err)
				}
			}
		})
	}
	all.Wait()
	if n := syncs.Load(); n > publishers*each/4 {
		t.Errorf("%d messages took %d syncs", publishers*each, n)
	}
	if c := read(t, l); len(c.records) != publishers*each {
		t.Errorf("%d of %d messages are there", len(c.records), publishers*each)
	}
}

// A page that the disk cannot read costs the records in it.
func TestUnreadablePage(t *testing.T) {
	files := &faulty{}
	opts := Options{Dir: t.TempDir(), files: files, segmentBytes: 64 << 10}
	l := opened(t, opts)
	publishMany(t, l, 1000, 100)
	l.indexed(t)
	first := segmentFiles(t, opts.Dir)[0]
	files.set(func(call, name string) error {
		if call == "read" && name == first {
			return errDisk
		}
		return nil
	})
	c := read(t, l)
	if len(c.lost) != 1 || c.lost[0].first != 1 || len(c.records)+len(numbers(c.lost)) != 1000 {
		t.Errorf("lost is %v, and %d records are there", c.lost, len(c.records))
	}
	files.set(nil)
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
		{"sync", stateFile}, {"open", stateFile}, {"readFile", formatFile}, {"open", segmentSuffix},
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

// smallDisk returns a folder that is a small disk of its own.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	if err != nil && os.Getenv("CI") != "true" {
		t.Skipf("mounting a small disk: %v", err)
	} else if err != nil {
		t.Fatalf("mounting a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting the small disk: %v", err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return dir
}

// On a real disk that is full, publishers get ErrFull, with a key and without one. Readers
// and the index go on, and publishers as soon as there is room.
func TestFullDisk(t *testing.T) {
	for name, reserve := range map[string]int64{"reserve": 4 << 20, "no reserve": -1} {
		t.Run(name, func(t *testing.T) {
			disk := smallDisk(t, "24m")
			ballast := filepath.Join(disk, "ballast")
			if err := os.WriteFile(ballast, make([]byte, 8<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			opts := Options{Dir: filepath.Join(disk, "data"), Reserve: reserve, Sync: time.Second}
			l := opened(t, opts)
			want := map[uint64]string{}
			if err := fillUntil(t, l, want, 1000); !errors.Is(err, eventlog.ErrFull) {
				t.Fatalf("the error is %v", err)
			}
			if free, _, _ := freeBytes(disk); free < min(reserve, 3<<20) {
				t.Errorf("%d bytes are free, the reserve is an eighth of the disk", free)
			}
			wantAll(t, l, want)
			keyed := eventlog.Message{Topic: "a", Key: "k", Data: strings.Repeat("k", 1<<20)}
			if a := l.Append(t.Context(), []eventlog.Message{keyed})[0]; !errors.Is(a.Err, eventlog.ErrFull) {
				t.Errorf("with a key: %+v", a)
			}
			closeLog(t, l)
			l = opened(t, opts) // also on the full disk
			wantAll(t, l, want)
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			appendSoon(t, l, want)
			if a := l.Append(t.Context(), []eventlog.Message{keyed})[0]; a.Err != nil || a.Repeat {
				t.Errorf("with a key: %+v", a)
			}
			wantAll(t, l, want)
			closeLog(t, l)
		})
	}
}
