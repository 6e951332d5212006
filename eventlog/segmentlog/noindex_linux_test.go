package segmentlog

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
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
