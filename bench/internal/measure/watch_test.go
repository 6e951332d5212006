//go:build linux

package measure_test

import (
	"os"
	"path/filepath"
	"testing"

	"example.com/tidings/bench/internal/measure"
)

func TestDiskUseCountsWhatFilesOccupy(t *testing.T) {
	dir := t.TempDir()
	inner := filepath.Join(dir, "inner")
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	before, err := measure.DiskUse(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(inner, "full"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	// A hole occupies nothing.
	if err := os.WriteFile(filepath.Join(dir, "hole"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "hole"), 1<<30); err != nil {
		t.Fatal(err)
	}
	after, err := measure.DiskUse(dir)
	if err != nil {
		t.Fatal(err)
	}
	if grown := after - before; grown > 2<<20 {
		t.Errorf("1 MiB and a hole of 1 GiB use %d bytes", grown)
	}
	if _, err := measure.DiskUse(filepath.Join(dir, "missing")); err != nil {
		t.Errorf("a folder that is gone: %v", err)
	}
}

func TestWatchSeesTheMemoryGrow(t *testing.T) {
	w, err := measure.NewWatch(os.Getpid(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	held := make([]byte, 64<<20)
	for i := 0; i < len(held); i += 4096 {
		held[i] = 1
	}
	use, err := w.End()
	if err != nil {
		t.Fatal(err)
	}
	if held[0] != 1 || use.AboveRest < 50 || use.PeakRSS < use.RestRSS {
		t.Errorf("after 64 MiB got %+v", use)
	}
}

func TestWatchRefusesAProcessThatIsNotThere(t *testing.T) {
	if _, err := measure.NewWatch(1<<30, ""); err == nil {
		t.Error("got no error")
	}
}
