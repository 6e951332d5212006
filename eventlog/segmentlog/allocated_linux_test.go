package segmentlog

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A segment is allocated ahead. After kill -9, and after a loss of power, a start finds in it
// exactly the records that it has, whatever follows them: zeros, less or nothing at all, or
// what stood on the disk before.
func TestTailOfAnAllocatedSegment(t *testing.T) {
	for name, change := range map[string]func(f *os.File, end int64) error{
		"zeros":                  func(*os.File, int64) error { return nil },
		"nothing":                func(f *os.File, end int64) error { return f.Truncate(end) },
		"fewer zeros":            func(f *os.File, end int64) error { return f.Truncate(end + 1000) },
		"zeros without room":     punchTail,
		"other bytes":            func(f *os.File, end int64) error { return writeAt(f, []byte("other"), end+9000) },
		"the last record is cut": func(f *os.File, end int64) error { return f.Truncate(end - 5) },
		"the last page is zeros": func(f *os.File, end int64) error {
			return writeAt(f, make([]byte, (end-1)%pageBytes+1), (end-1)&^(pageBytes-1))
		},
		"the last bytes are zeros": func(f *os.File, end int64) error { return writeAt(f, make([]byte, 5), end-5) },
	} {
		for _, power := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, power=%v", name, power), func(t *testing.T) {
				dir := t.TempDir()
				g := &ledger{map[uint64]noted{}, map[uint64]bool{}, map[uint64]bool{}}
				g.kill(t, dir, 0, 0, 30*time.Millisecond)
				rest := changeTail(t, dir, change)
				there := intact(t, dir)
				opts := Options{Dir: dir, segmentBytes: 64 << 10, Logger: quiet()}
				if power {
					opts.bootID = func() uint32 { return bootID() + 1 }
				}
				l := opened(t, opts)
				defer closeLog(t, l)
				c := read(t, l)
				told := map[uint64]bool{}
				for _, seq := range numbers(c.lost) {
					told[seq] = true
				}
				for seq, n := range g.acknowledged {
					_, found := c.records[seq]
					switch {
					case g.removing[seq]:
					case !there[seq]:
						if found || !told[seq] {
							t.Errorf("%d is gone: found %v, told %v", seq, found, told[seq])
						}
					case told[seq]:
						t.Errorf("%d is intact, and told as lost", seq)
					case c.records[seq].Data != n.Message.Data:
						t.Errorf("%d is intact, and %.40q; it was %.40q", seq, c.records[seq].Data, n.Message.Data)
					}
				}
				if doubt := rest && power; !strings.HasPrefix(name, "the last") && len(c.lost) > 0 != doubt {
					t.Errorf("lost is %v", c.lost)
				}
				if len(c.lost) == 0 {
					g.check(t, l, rand.New(rand.NewPCG(1, 1)))
				}
			})
		}
	}
}

// changeTail changes what follows the last record of the newest segment that has one. The room
// for all of the segment is there. rest says that other bytes than zeros follow the record then:
// the process may also have been killed in the middle of a write.
func changeTail(t *testing.T, dir string, change func(f *os.File, end int64) error) (rest bool) {
	t.Helper()
	l := &Log{opts: Options{Dir: dir}, files: disk{}}
	found, err := l.find()
	if err != nil {
		t.Fatal(err)
	}
	for i := len(found) - 1; i >= 0; i-- {
		s := found[i]
		if err := s.load(); err != nil {
			t.Fatal(err)
		}
		defer s.shut()
		last, end := s.extent()
		if last < s.first {
			rest = rest || usedIn(t, s.path) > 0
			continue
		}
		f, err := os.OpenFile(s.path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		if st.Size > end && st.Blocks*512 < st.Size {
			t.Errorf("%d of the segment's %d bytes have room", st.Blocks*512, st.Size)
		}
		if err := change(f, end); err != nil {
			t.Fatal(err)
		}
		return rest || usedIn(t, s.path) > end
	}
	t.Fatal("there is no record")
	return false
}

// usedIn returns how many bytes of a file come before its last byte that is not 0.
func usedIn(t *testing.T, name string) int64 {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return int64(used(b))
}

func writeAt(f *os.File, b []byte, off int64) error {
	_, err := f.WriteAt(b, off)
	return err
}

// punchTail takes the room away that follows the records. It reads as zeros.
func punchTail(f *os.File, end int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, end, 1<<20)
}
