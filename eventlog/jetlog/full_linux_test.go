package jetlog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/jetlog"
)

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
	// After the log is closed, before the folder is removed.
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting the small disk: %v", err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return dir
}

// ballast makes a file of another program on a small disk.
func ballast(t *testing.T, dir string, size int) (remove func()) {
	t.Helper()
	name := filepath.Join(dir, "ballast")
	if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	}
}

// fillUp appends until the log refuses that with ErrFull. It returns the stored messages.
func fillUp(t *testing.T, l eventlog.Log) map[uint64]string {
	t.Helper()
	stored := map[uint64]string{}
	for i := 0; ; i += 3 {
		batch := make([]eventlog.Message, 3)
		for k := range batch {
			batch[k] = eventlog.Message{Topic: "a", Data: fmt.Sprintf("%d %s", i+k, strings.Repeat("x", 3000))}
		}
		for k, a := range l.Append(t.Context(), batch) {
			switch {
			case a.Err == nil:
				stored[a.ID.Seq] = batch[k].Data
			case !errors.Is(a.Err, eventlog.ErrFull):
				t.Fatalf("Append on a full disk: %v", a.Err)
			case k == len(batch)-1:
				return stored
			}
		}
		if i > 100_000 {
			t.Fatal("the disk does not get full")
		}
	}
}

// wantStored reads everything, and checks that the stored messages are there.
func wantStored(t *testing.T, l eventlog.Log, stored map[uint64]string) {
	t.Helper()
	found := 0
	for _, r := range everything(t, l) {
		if data, ok := stored[r.Seq]; ok {
			if found++; r.Data != data {
				t.Fatalf("record %d is another: %.20q, was %.20q", r.Seq, r.Data, data)
			}
		}
	}
	if found != len(stored) {
		t.Fatalf("%d of %d acknowledged messages are there", found, len(stored))
	}
}

// appendSoon tries to append until there is room.
func appendSoon(t *testing.T, l eventlog.Log) eventlog.Appended {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		a := l.Append(t.Context(), []eventlog.Message{{Topic: "a", Data: "goes on"}})[0]
		if a.Err == nil {
			return a
		}
		if time.Now().After(deadline) {
			t.Fatalf("there is room, and Append fails still: %v", a.Err)
		}
	}
}

// Append refuses messages before they use the reserve of the disk, and reading goes on. When
// there is room again, Append goes on without a new start.
func TestReserve(t *testing.T) {
	disk := smallDisk(t, "48m")
	remove := ballast(t, disk, 16<<20)
	const reserve = 8 << 20
	l := open(t, jetlog.Options{Dir: filepath.Join(disk, "data"), Reserve: reserve})
	before := state(t, l)
	stored := fillUp(t, l)
	var st unix.Statfs_t
	if err := unix.Statfs(disk, &st); err != nil {
		t.Fatal(err)
	}
	if free := int64(st.Bavail) * int64(st.Bsize); free < reserve*9/10 || free > reserve*3/2 {
		t.Errorf("%d bytes are free, and %d are the reserve", free, reserve)
	}
	wantStored(t, l, stored)
	remove()
	a := appendSoon(t, l)
	if a.ID != before.Epochs.Position(uint64(len(stored)+1)) || state(t, l).Generation != before.Generation {
		t.Errorf("after %d messages got %+v; the state was %+v and is %+v", len(stored), a, before, state(t, l))
	}
}

// Another program fills the disk, including the reserve. JetStream then answers nothing until
// it is started anew, which the log does by itself. No acknowledged message is lost, and
// reading goes on meanwhile. The log that is opened anew has another generation.
func TestDiskFull(t *testing.T) {
	disk := smallDisk(t, "32m")
	remove := ballast(t, disk, 8<<20)
	l := open(t, jetlog.Options{Dir: filepath.Join(disk, "data"), Reserve: -1})
	before := state(t, l)
	tailed := make(chan error, 1)
	go func() {
		var end error
		for _, err := range l.Tail(context.WithoutCancel(t.Context()), before.Generation, 0) {
			end = err
		}
		tailed <- end
	}()
	begun := time.Now()
	stored := fillUp(t, l)
	if a := l.Append(t.Context(), []eventlog.Message{{Topic: "a"}})[0]; !errors.Is(a.Err, eventlog.ErrFull) {
		t.Errorf("the next gets %+v", a)
	}
	t.Logf("%d messages were stored; it took %v to be told that the disk is full", len(stored), time.Since(begun))
	wantStored(t, l, stored)
	remove()
	a := appendSoon(t, l)
	select {
	case err := <-tailed:
		if err == nil {
			t.Error("the tail ends without an error")
		}
	case <-time.After(patience):
		t.Error("the tail does not end when the log is opened anew")
	}
	wantStored(t, l, stored)
	after := state(t, l)
	if len(after.Epochs) <= len(before.Epochs) || after.Generation == before.Generation || a.ID != after.Epochs.Position(a.ID.Seq) ||
		a.ID.Epoch != after.Epochs[len(after.Epochs)-1].ID {
		t.Errorf("the state was %+v and is %+v; the next message is %+v", before, after, a)
	}
	wantReopened(t, l, before.Generation)
	stored[a.ID.Seq] = "goes on"
	l.Close()
	wantStored(t, open(t, jetlog.Options{Dir: filepath.Join(disk, "data"), Reserve: -1}), stored)
}
