package segmentlog

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/tidings/eventlog"
)

// blockIndex makes the folder of the index one that can neither be written nor removed.
func blockIndex(t *testing.T, dir string) {
	t.Helper()
	index := filepath.Join(dir, storePrefix)
	if err := os.Mkdir(index, 0o700); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount("tmpfs", index, "tmpfs", unix.MS_RDONLY, "size=64k")
	if err != nil && os.Getenv("CI") != "true" {
		t.Skipf("mounting a folder that cannot be written: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(index, unix.MNT_DETACH) })
}

// Where no index can be made, everything goes on by searching the segments.
func TestNoIndex(t *testing.T) {
	dir := t.TempDir()
	blockIndex(t, dir)
	opts := Options{Dir: dir, Sync: time.Second, segmentBytes: 1 << 20, Logger: quiet()}
	for start := range 2 {
		l := opened(t, opts)
		if start == 0 {
			publishTopics(t, l, 3000)
		}
		want := modelOf(t, l)
		wantKeys(t, l, want.keyedOnly(0))
		want.quickly(t, l)
		if n, err := l.Remove(t.Context(), []uint64{11}); n != 1-start || err != nil {
			t.Errorf("Remove: %d, %v", n, err)
		}
		if start == 0 {
			if a := l.Append(t.Context(), []eventlog.Message{{Topic: topicOf(11), Key: "m11", Data: "again"}})[0]; a.Err != nil || a.Repeat {
				t.Errorf("the key of a removed record: %+v", a)
			}
		}
		closeLog(t, l)
	}
	if _, err := os.Stat(filepath.Join(dir, storePrefix, "MANIFEST-000001")); err == nil {
		t.Error("there is an index")
	}
}
