//go:build unix

package segmentlog

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// A crashDisk is Pebble's crashing file system without the calls that wait for ever if the
// power goes meanwhile. Lock, Link and ReuseForWrite of [vfs.MemFS] hold a lock for reading,
// and take it once more; CrashClone waits for it to write.
type crashDisk struct {
	*vfs.MemFS
	locked sync.Map // names of files
}

func newCrashDisk() *crashDisk { return &crashDisk{MemFS: vfs.NewCrashableMem()} }

// crash returns what the disk has after a crash. kept is how many of a hundred pages and names
// that were not synced are there.
func (d *crashDisk) crash(rnd *rand.Rand, kept int) *crashDisk {
	return &crashDisk{MemFS: d.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: rnd})}
}

func (d *crashDisk) Lock(name string) (io.Closer, error) {
	if _, locked := d.locked.LoadOrStore(name, true); locked {
		return nil, unix.EAGAIN
	}
	f, err := d.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		d.locked.Delete(name)
		return nil, err
	}
	return &heldLock{f, d, name}, nil
}

type heldLock struct {
	vfs.File
	disk *crashDisk
	name string
}

func (l *heldLock) Close() error {
	l.disk.locked.Delete(l.name)
	return l.File.Close()
}

// Pebble copies the file instead.
func (d *crashDisk) Link(from, to string) error {
	return &fs.PathError{Op: "link", Path: to, Err: unix.ENOTSUP}
}

func (d *crashDisk) ReuseForWrite(from, to string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, &fs.PathError{Op: "reuse", Path: to, Err: unix.ENOTSUP} // only Pebble's own log does that
}

// The power may go while a store takes the lock of its folder.
func TestCrashWhileLocking(t *testing.T) {
	d := newCrashDisk()
	must(d.MkdirAll("/a", 0o700))
	locked := make(chan struct{})
	go func() {
		defer close(locked)
		for range 20_000 {
			lock, err := d.Lock("/a/LOCK")
			must(err)
			if _, err := d.Lock("/a/LOCK"); !errors.Is(err, unix.EAGAIN) {
				t.Errorf("locked twice: %v", err)
			}
			must(lock.Close())
		}
	}()
	for rnd := rand.New(rand.NewPCG(1, 2)); ; {
		select {
		case <-locked:
			return
		default:
			d.crash(rnd, 50)
		}
	}
}
