package segmentlog

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// A damage is something that happens to a file.
type damage struct {
	name string
	do   func(t *testing.T, name string, rnd *rand.Rand)
}

// rewrite changes the bytes of a file.
func rewrite(t *testing.T, name string, f func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	// In place: a process that has the file open sees it.
	file, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	b = f(b)
	if err := file.Truncate(int64(len(b))); err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

// used returns how many bytes of a file come before its last byte that is not 0.
func used(b []byte) int {
	for n := len(b); n > 0; n-- {
		if b[n-1] != 0 {
			return n
		}
	}
	return 0
}

var damages = []damage{
	{"bit", func(t *testing.T, name string, rnd *rand.Rand) {
		rewrite(t, name, func(b []byte) []byte {
			if n := used(b); n > 0 {
				b[rnd.IntN(n)] ^= 1 << rnd.IntN(8)
			}
			return b
		})
	}},
	{"last bit", func(t *testing.T, name string, rnd *rand.Rand) {
		rewrite(t, name, func(b []byte) []byte {
			if n := used(b); n > 0 {
				b[n-1] ^= 1
			}
			return b
		})
	}},
	{"page", func(t *testing.T, name string, rnd *rand.Rand) {
		rewrite(t, name, func(b []byte) []byte {
			if n := used(b); n > 0 {
				from := rnd.IntN(n) &^ (pageBytes - 1)
				clear(b[from:min(from+pageBytes, len(b))])
			}
			return b
		})
	}},
	{"cut", func(t *testing.T, name string, rnd *rand.Rand) {
		rewrite(t, name, func(b []byte) []byte { return b[:rnd.IntN(max(used(b), 1))] })
	}},
	{"noise", func(t *testing.T, name string, rnd *rand.Rand) {
		rewrite(t, name, func(b []byte) []byte {
			from := rnd.IntN(max(used(b), 1))
			for i := range b[from:min(from+700, len(b))] {
				b[from+i] = byte(rnd.Uint32())
			}
			return b
		})
	}},
	{"zeros", func(t *testing.T, name string, _ *rand.Rand) {
		rewrite(t, name, func(b []byte) []byte { clear(b); return b })
	}},
	{"inserted", func(t *testing.T, name string, rnd *rand.Rand) {
		rewrite(t, name, func(b []byte) []byte {
			return slices.Insert(b, rnd.IntN(max(used(b), 1)), make([]byte, 1+rnd.IntN(1000))...)
		})
	}},
	{"moved", func(t *testing.T, name string, rnd *rand.Rand) {
		rewrite(t, name, func(b []byte) []byte {
			n := used(b)
			from := rnd.IntN(max(n/2, 1))
			cut := min(1+rnd.IntN(300), n-from)
			return slices.Insert(slices.Delete(b, from, from+cut), n-cut, make([]byte, cut)...)
		})
	}},
	{"removal", func(t *testing.T, name string, _ *rand.Rand) {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}},
}

// The damages that need another file.
const (
	swap    = "swap"
	foreign = "of another log"
	older   = "older version"
)

// exchanges are damages by which a file gets the content of another one. That of another
// folder is for the test.
var exchanges = []damage{
	{swap, func(t *testing.T, name string, _ *rand.Rand) {
		names := slices.DeleteFunc(filesLike(t, name), func(n string) bool { return n == name })
		if len(names) == 0 {
			t.Fatal("there is no other")
		}
		for _, step := range [][2]string{{name, name + ".x"}, {names[0], name}, {name + ".x", names[0]}} {
			if err := os.Rename(step[0], step[1]); err != nil {
				t.Fatal(err)
			}
		}
	}},
	{foreign, nil},
	{older, nil},
}

// filesLike returns the files in a folder that have the same kind as one of them.
func filesLike(t *testing.T, name string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(filepath.Dir(name), "*"+filepath.Ext(name)))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// replace makes a file of a folder that of another folder: the one with the same name, or
// else the first one of its kind.
func replace(t *testing.T, name, from string) {
	t.Helper()
	other := filepath.Join(from, filepath.Base(name))
	if filepath.Base(filepath.Dir(name)) == storePrefix {
		other = filepath.Join(from, storePrefix, filepath.Base(name))
	}
	if _, err := os.Stat(other); err != nil {
		names := filesLike(t, other)
		if len(names) == 0 {
			t.Fatal("there is no other")
		}
		other = names[0]
	}
	b, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, name, func([]byte) []byte { return b })
}

// intact returns the records whose frames are in a folder, by their numbers. It knows the
// format only: a frame with the right checksum is intact, wherever it is in its file.
func intact(t *testing.T, dir string) map[uint64]bool {
	t.Helper()
	found := map[uint64]bool{}
	for _, name := range segmentFiles(t, dir) {
		_, salt, ok := parseSegmentName(filepath.Base(name))
		b, err := os.ReadFile(name)
		if err != nil || !ok {
			t.Fatal(name, err)
		}
		for at := 0; at+headerBytes <= len(b); {
			if size, ok := parseHeader(b[at:]); ok && at+size <= len(b) {
				if f, ok := parseFrame(b[at:at+size], salt); ok {
					found[f.seq] = true
					at += size
					continue
				}
			}
			at++
		}
	}
	return found
}

// Readers of some topics learn of damage that no reader of all topics has met, if the start
// or the index has.
func TestDamageThatOnlyTheIndexHasMet(t *testing.T) {
	for name, hurt := range map[string]func(t *testing.T, dir string){
		"the first segment is missing": func(t *testing.T, dir string) {
			if err := os.Remove(segmentFiles(t, dir)[0]); err != nil {
				t.Fatal(err)
			}
		},
		"a segment is missing": func(t *testing.T, dir string) {
			if err := os.Remove(segmentFiles(t, dir)[2]); err != nil {
				t.Fatal(err)
			}
		},
		"a segment is empty": func(t *testing.T, dir string) {
			rewrite(t, segmentFiles(t, dir)[2], func(b []byte) []byte { return make([]byte, len(b)) })
		},
		"a page is empty": func(t *testing.T, dir string) {
			rewrite(t, segmentFiles(t, dir)[2], func(b []byte) []byte { clear(b[8192:16384]); return b })
		},
		"the last page of a segment is empty": func(t *testing.T, dir string) {
			rewrite(t, segmentFiles(t, dir)[2], func(b []byte) []byte { clear(b[len(b)-5000:]); return b })
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := Options{Dir: t.TempDir(), Sync: time.Second, segmentBytes: 32 << 10, Logger: quiet()}
			l := opened(t, opts)
			for i := range 3000 {
				m := eventlog.Message{Topic: "often", Data: "data"}
				if i%100 == 0 {
					m.Topic = "rare"
				}
				publish(t, l, m)
			}
			closeLog(t, l)
			hurt(t, opts.Dir)
			there := intact(t, opts.Dir)
			l = opened(t, opts)
			l.indexed(t)
			told := map[uint64]bool{}
			found := 0
			for after := uint64(0); after < 3000; {
				b, err := l.Read(t.Context(), eventlog.Query{Filters: topics.MustFilters("rare"), After: after, UpTo: 3000, MaxRecords: 100, MaxBytes: 1 << 20})
				if err != nil {
					t.Fatal(err)
				}
				for seq := after + 1; seq <= b.Hole; seq++ {
					told[seq] = b.Reason == sse.GapLost
				}
				found += len(b.Records)
				after = b.Through
			}
			lost := 0
			for seq := uint64(1); seq <= 3000; seq++ {
				if there[seq] && told[seq] {
					t.Fatalf("%d is told as lost, and intact", seq)
				}
				if !there[seq] && seq%100 == 1 {
					if lost++; !told[seq] {
						t.Fatalf("a reader does not learn that %d is lost", seq)
					}
				}
			}
			if n, _, err := l.Count(t.Context(), topics.MustFilters("**"), 0); err != nil || int(n) != len(there) {
				t.Errorf("Count is %d, %v; there are %d", n, err, len(there))
			}
			if lost == 0 || found+lost != 30 {
				t.Errorf("%d of 30 records are lost, and %d there", lost, found)
			}
			closeLog(t, l)
		})
	}
}

// Either slot of the state tells what has expired: if the newer one is damaged, expired
// records are not told as lost.
func TestDamagedStateAfterRetention(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Sync: time.Second, MaxBytes: 50_000, MaxAge: -1, segmentBytes: 20_000, Logger: quiet()}
	for range 5 {
		l := opened(t, opts)
		for {
			oldest := l.list()[0]
			publishMany(t, l, 1, 500)
			if last, _ := oldest.extent(); last > 0 && l.first.Load() > last {
				await(t, "the end of a segment", func() bool { _, err := os.Stat(oldest.path); return err != nil })
				break
			}
		}
		dir := copyFolder(t, opts.Dir)
		closeLog(t, l)
		rewrite(t, filepath.Join(dir, stateFile), func(b []byte) []byte {
			st, _ := decodeState(b)
			b[st.serial%2*slotBytes+20] ^= 1
			return b
		})
		damaged := opened(t, Options{Dir: dir, Logger: quiet()})
		if c := read(t, damaged); len(c.lost) > 0 {
			t.Errorf("the log has lost %v", c.lost)
		}
		closeLog(t, damaged)
	}
}
