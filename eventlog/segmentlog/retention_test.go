package segmentlog

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tidings/eventlog"
)

// When a segment is removed, the disk has the first number that is retained. Otherwise a
// start after a loss of power would take what has expired for lost.
func TestExpiredIsKnownBeforeItIsGone(t *testing.T) {
	dir := t.TempDir()
	var onDisk atomic.Uint64
	files := &faulty{}
	files.set(func(call, name string) error {
		switch {
		case filepath.Base(name) != stateFile:
		case call == "write":
			time.Sleep(10 * time.Millisecond) // a slow write, which others may overtake
		case call == "sync":
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			st, _ := decodeState(b)
			onDisk.Store(st.first)
		}
		return nil
	})
	l := opened(t, Options{Dir: dir, Sync: time.Hour, MaxBytes: 256 << 10, segmentBytes: 64 << 10, files: files})
	defer closeLog(t, l)
	for range 20 {
		publish(t, l, eventlog.Message{Topic: "t", Data: strings.Repeat("x", 32<<10)})
		oldest := segmentFiles(t, dir)[0]
		first, _, _ := parseSegmentName(filepath.Base(oldest))
		if first > 1 && onDisk.Load() < first {
			t.Fatalf("the oldest segment begins with %d, but the disk has %d as the first number", first, onDisk.Load())
		}
	}
	await(t, "retention", func() bool { return onDisk.Load() > 1 })
}
