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

	"example.com/tidings/hub"
	"example.com/tidings/hub/jetlog"
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

// ballast is a file of another program's on a small disk.
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

// fillUp appends until that is refused, checks how, and returns what was stored.
func fillUp(t *testing.T, l hub.Log) map[uint64]string {
	t.Helper()
	stored := map[uint64]string{}
	for i := 0; ; i += 3 {
		batch := make([]hub.Message, 3)
		for k := range batch {
			batch[k] = hub.Message{Topic: "a", Data: fmt.Sprintf("%d %s", i+k, strings.Repeat("x", 3000))}
		}
		for k, a := range l.Append(t.Context(), batch) {
			switch {
			case a.Err == nil:
				stored[a.Seq] = batch[k].Data
			case !errors.Is(a.Err, hub.ErrFull):
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

// wantStored reads everything, and wants what was stored.
func wantStored(t *testing.T, l hub.Log, stored map[uint64]string) {
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

// appendSoon appends as soon as there is room.
func appendSoon(t *testing.T, l hub.Log) hub.Appended {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		a := l.Append(t.Context(), []hub.Message{{Topic: "a", Data: "goes on"}})[0]
		if a.Err == nil {
			return a
		}
		if time.Now().After(deadline) {
			t.Fatalf("there is room, and Append fails still: %v", a.Err)
		}
	}
}

// The reserve: appending is refused before the disk is full, reading goes on, and
// appending does when there is room again, without a new start.
func TestReserve(t *testing.T) {
	disk := smallDisk(t, "48m")
	remove := ballast(t, disk, 16<<20)
	const reserve = 8 << 20
	l := open(t, jetlog.Options{Dir: filepath.Join(disk, "data"), Reserve: reserve})
	epochs := l.Epochs()
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
	if a.Seq != uint64(len(stored)+1) || len(l.Epochs()) != len(epochs) {
		t.Errorf("after %d messages got %+v; the epochs are %v", len(stored), a, l.Epochs())
	}
}

// Another program fills the disk, reserve and all: JetStream then answers nothing
// more, until it is started anew, which the log does by itself. Nothing that was
// acknowledged is lost, and reading goes on meanwhile.
func TestDiskFull(t *testing.T) {
	disk := smallDisk(t, "32m")
	remove := ballast(t, disk, 8<<20)
	l := open(t, jetlog.Options{Dir: filepath.Join(disk, "data"), Reserve: -1})
	epochs := l.Epochs()
	tailed := make(chan error, 1)
	go func() {
		var end error
		for _, err := range l.Tail(context.WithoutCancel(t.Context()), 0) {
			end = err
		}
		tailed <- end
	}()
	begun := time.Now()
	stored := fillUp(t, l)
	if a := l.Append(t.Context(), []hub.Message{{Topic: "a"}})[0]; !errors.Is(a.Err, hub.ErrFull) {
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
	after := l.Epochs()
	if len(after) <= len(epochs) || after[len(after)-1].First > a.Seq {
		t.Errorf("the epochs were %v and are %v; the next message is %d", epochs, after, a.Seq)
	}
	stored[a.Seq] = "goes on"
	l.Close()
	wantStored(t, open(t, jetlog.Options{Dir: filepath.Join(disk, "data"), Reserve: -1}), stored)
}
