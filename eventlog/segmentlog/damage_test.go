package segmentlog

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
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
	{"removal", func(t *testing.T, name string, _ *rand.Rand) {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}},
	{"swap", func(t *testing.T, name string, _ *rand.Rand) {
		names := segmentFiles(t, filepath.Dir(name))
		i := slices.Index(names, name)
		other := names[(i+1)%len(names)]
		for _, step := range [][2]string{{name, name + ".x"}, {other, name}, {name + ".x", other}} {
			if err := os.Rename(step[0], step[1]); err != nil {
				t.Fatal(err)
			}
		}
	}},
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

// A sufferer is a log that is damaged.
type sufferer struct {
	t     *testing.T
	opts  Options
	want  map[uint64]eventlog.Record // what was acknowledged
	doubt int                        // how many numbers at the end may be told as lost without being so
}

func (s *sufferer) publish(l *Log, n int) {
	s.t.Helper()
	batch := make([]eventlog.Message, n)
	for i := range batch {
		batch[i] = eventlog.Message{Topic: fmt.Sprintf("t.%d", i%5), Type: "typ", Data: fmt.Sprint(len(s.want), i, strings.Repeat("x", 50+i%100))}
	}
	for i, a := range l.Append(s.t.Context(), batch) {
		if a.Err != nil {
			s.t.Fatalf("Append: %v", a.Err)
		}
		if old, ok := s.want[a.ID.Seq]; ok {
			s.t.Fatalf("%d was the number of %+v, and is used again", a.ID.Seq, old)
		}
		s.want[a.ID.Seq] = eventlog.Record{Seq: a.ID.Seq, Topic: batch[i].Topic, Type: batch[i].Type, Data: batch[i].Data}
	}
}

// check checks what readers get, and returns how many records are lost. there are those
// that are intact.
func (s *sufferer) check(l *Log, there map[uint64]bool) (lost int) {
	t := s.t
	t.Helper()
	c := read(t, l)
	told := map[uint64]bool{}
	for _, seq := range numbers(c.lost) {
		told[seq] = true
	}
	wrong := map[string][]uint64{}
	extra := 0
	for seq := range told {
		if _, acknowledged := s.want[seq]; !acknowledged {
			extra++
		}
		if there[seq] {
			wrong["told as lost, and intact"] = append(wrong["told as lost, and intact"], seq)
		}
	}
	if extra > s.doubt {
		t.Errorf("%d numbers that nobody was given are told as lost: %v", extra, c.lost)
	}
	for seq, want := range s.want {
		r, ok := c.records[seq]
		r.Time = want.Time
		what := ""
		switch {
		case there[seq] && !ok:
			what = "intact, and not there"
		case !there[seq] && ok:
			what = "gone, and there"
		case !there[seq] && !told[seq]:
			what = "gone in silence"
		case ok && r != want:
			what = "another than it was"
		}
		if what != "" {
			wrong[what] = append(wrong[what], seq)
		}
		if !there[seq] {
			lost++
		}
	}
	for what, seqs := range wrong {
		slices.Sort(seqs)
		t.Errorf("%s: %d numbers from %d to %d; the log has %d to %d and tells %v", what, len(seqs), seqs[0], seqs[len(seqs)-1], c.first, c.last, c.lost)
	}
	if t.Failed() {
		t.FailNow()
	}
	s.checkFiltered(l, told)
	return lost
}

// checkFiltered checks that readers of some topics learn of lost records, too, once a reader
// has found them.
func (s *sufferer) checkFiltered(l *Log, told map[uint64]bool) {
	t := s.t
	t.Helper()
	st, _ := l.State(t.Context())
	for _, pattern := range []string{"t.1", "t.*", "none"} {
		filters := topics.MustFilters(pattern)
		found, covered := map[uint64]bool{}, map[uint64]bool{}
		for after := st.First - 1; after < st.Last; {
			b, err := l.Read(t.Context(), eventlog.Query{Filters: filters, After: after, UpTo: st.Last, MaxRecords: 100, MaxBytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			for seq := after + 1; seq <= b.Hole; seq++ {
				covered[seq] = b.Reason == sse.GapLost
			}
			for _, r := range b.Records {
				found[r.Seq] = true
			}
			after = b.Through
		}
		for seq := range told {
			if r, ok := s.want[seq]; ok && filters[0].Match(r.Topic) && !covered[seq] {
				t.Fatalf("a reader of %s does not learn that %d is lost", pattern, seq)
			}
		}
		for seq, r := range s.want {
			if !told[seq] && filters[0].Match(r.Topic) != found[seq] {
				t.Fatalf("a reader of %s gets %d: %v", pattern, seq, found[seq])
			}
		}
	}
}

// Damage costs the records that it hits, and no others. Each of them is told. The log goes
// on, and starts again.
func TestDamage(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("the seed is %d", seed)
	pick := rand.New(rand.NewPCG(seed, 2))
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "file\tdamage\tbefore a start after kill -9\tafter a clean end\twhile open\t")
	segment := func(which func(n int) int) func(t *testing.T, dir string) []string {
		return func(t *testing.T, dir string) []string {
			names := slices.DeleteFunc(segmentFiles(t, dir), func(name string) bool {
				b, err := os.ReadFile(name)
				return err != nil || used(b) == 0
			})
			return []string{names[which(len(names))]}
		}
	}
	glob := func(pattern string) func(t *testing.T, dir string) []string {
		return func(t *testing.T, dir string) []string {
			names, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil || len(names) == 0 {
				t.Fatalf("%s: %v, %v", pattern, names, err)
			}
			return names
		}
	}
	for _, target := range []struct {
		name  string
		files func(t *testing.T, dir string) []string
		cost  bool // records may be lost
		doubt int
	}{
		{"first segment", segment(func(int) int { return 0 }), true, 0},
		{"middle segment", segment(func(n int) int { return n / 2 }), true, 0},
		{"newest segment", segment(func(n int) int { return n - 1 }), true, 0},
		{"a sidecar", func(t *testing.T, dir string) []string { return glob("*"+sidecarSuffix)(t, dir)[:1] }, false, 0},
		{"all sidecars", glob("*" + sidecarSuffix), false, 0},
		{"state", glob(stateFile), false, 1},
		{"epochs", glob(epochsFile), false, 0},
		{"format", glob(formatFile), false, 0},
	} {
		for _, d := range damages {
			if !target.cost && (d.name == "swap" || d.name == "last bit") {
				continue // these are for segments
			}
			row := []string{target.name, d.name}
			chosen := pick.IntN(3) // one of them in each run
			for i, when := range []string{"kill", "clean end", "open"} {
				if *soak == 0 && i != chosen {
					row = append(row, "")
					continue
				}
				lost := 0
				t.Run(target.name+"/"+d.name+"/"+when, func(t *testing.T) {
					rnd := rand.New(rand.NewPCG(seed, 1))
					s := &sufferer{t: t, want: map[uint64]eventlog.Record{}, doubt: target.doubt}
					s.opts = Options{Dir: t.TempDir(), Sync: time.Second, segmentBytes: 16 << 10, Logger: quiet()}
					s.opts.watch = -1 // otherwise some of this ends writing
					l := opened(t, s.opts)
					for range 12 {
						s.publish(l, 60)
					}
					await(t, "four sidecars", func() bool {
						names, _ := filepath.Glob(filepath.Join(s.opts.Dir, "*"+sidecarSuffix))
						return len(names) >= 4
					})
					l.indexed(t)
					hurt := func() {
						t.Helper()
						for _, name := range target.files(t, s.opts.Dir) {
							d.do(t, name, rnd)
						}
					}
					switch when {
					case "kill":
						dir := copyFolder(t, s.opts.Dir)
						closeLog(t, l)
						s.opts.Dir = dir
						hurt()
					case "clean end":
						closeLog(t, l)
						hurt()
					case "open":
						hurt()
						there := intact(t, s.opts.Dir)
						if d.name == "removal" || d.name == "swap" {
							// The process has the file still.
							for seq := range read(t, l).records {
								there[seq] = true
							}
						}
						lost = s.check(l, there)
						s.publish(l, 60)
						closeLog(t, l)
					}
					for range 2 {
						there := intact(t, s.opts.Dir)
						l = opened(t, s.opts)
						lost = s.check(l, there)
						s.publish(l, 60)
						s.check(l, intact(t, s.opts.Dir))
						closeLog(t, l)
					}
					if lost > 0 && !target.cost {
						t.Errorf("%d records are lost", lost)
					}
				})
				row = append(row, fmt.Sprint(lost))
			}
			fmt.Fprintln(w, strings.Join(row, "\t")+"\t")
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Log("records lost of 720, and then of some more:\n" + table.String())
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
