package segmentlog

import (
	"errors"
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
	"example.com/tidings/hub"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// A sufferer is a log that is damaged.
type sufferer struct {
	t     *testing.T
	opts  Options
	want  map[uint64]eventlog.Record // what was acknowledged
	ids   map[uint64]eventlog.Position
	named bool // the log still has the ids that it gave
	doubt int  // how many numbers at the end may be told as lost without being so
}

// A verdict is how many records are lost, how many readers were told of, and how many the
// metric has. doubt is how many of the latter nobody was given.
type verdict struct{ lost, told, metric, doubt int }

func (v verdict) String() string {
	s := fmt.Sprintf("%d/%d/%d", v.lost, v.told-v.doubt, v.metric-v.doubt)
	if v.doubt > 0 {
		s += fmt.Sprintf(" +%d", v.doubt)
	}
	return s
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
		s.ids[a.ID.Seq] = a.ID
	}
}

// verified waits until the verification has ended.
func (l *Log) verified(t *testing.T) {
	t.Helper()
	await(t, "the end of the verification", func() bool { st := l.Stats(); return st.Verified == st.Bytes })
}

// check checks what readers get: each record that is there, and for each other one that it
// is lost. whole says that the log has read everything, so that readers of some topics learn
// of losses before a reader of all topics comes.
func (s *sufferer) check(l *Log, there map[uint64]bool, whole bool) verdict {
	t := s.t
	t.Helper()
	var gone spans
	for seq := range s.want {
		if !there[seq] {
			gone = gone.add(span{seq, seq})
		}
	}
	if whole {
		l.verified(t)
		s.checkFiltered(l, gone, there)
	}
	c := read(t, l)
	told := spans{}
	for _, h := range c.lost {
		told = told.add(h)
	}
	v := verdict{int(gone.count()), int(told.count()), int(l.Stats().Lost), 0}
	wrong := map[string]spans{}
	for _, seq := range numbers(told) {
		if _, acknowledged := s.want[seq]; !acknowledged {
			v.doubt++
		}
		if there[seq] {
			wrong["told as lost, and intact"] = wrong["told as lost, and intact"].add(span{seq, seq})
		}
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
		case !there[seq] && !told.has(span{seq, seq}):
			what = "gone in silence"
		case ok && r != want:
			what = "another than it was"
		default:
			continue
		}
		wrong[what] = wrong[what].add(span{seq, seq})
	}
	for what, seqs := range wrong {
		t.Errorf("%s: %v; the log has %d to %d and tells %v", what, seqs, c.first, c.last, c.lost)
	}
	if v.doubt > s.doubt || v.told != v.metric || v.told != v.lost+v.doubt {
		t.Errorf("lost/told/metric is %v, the log tells %v, and %v is gone", v, told, gone)
	}
	if t.Failed() {
		t.FailNow()
	}
	s.checkFiltered(l, gone, there)
	s.checkByID(l, gone, c)
	return v
}

// checkFiltered checks that readers of some topics get the records of these topics that are
// there, and learn of each that is gone, whatever its topic was.
func (s *sufferer) checkFiltered(l *Log, gone spans, there map[uint64]bool) {
	t := s.t
	t.Helper()
	st, _ := l.State(t.Context())
	for _, pattern := range []string{"t.1", "t.*", "none"} {
		filters := topics.MustFilters(pattern)
		found, told := map[uint64]bool{}, spans{}
		for after := st.First - 1; after < st.Last; {
			b, err := l.Read(t.Context(), eventlog.Query{Filters: filters, After: after, UpTo: st.Last, MaxRecords: 100, MaxBytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			if b.Hole > 0 && b.Reason == sse.GapLost {
				told = told.add(span{after + 1, b.Hole})
			}
			for _, r := range b.Records {
				found[r.Seq] = true
			}
			after = b.Through
		}
		for _, h := range gone {
			if !told.has(h) {
				t.Fatalf("a reader of %s is told of %v; %v is gone", pattern, told, gone)
			}
		}
		for seq, r := range s.want {
			if there[seq] && told.has(span{seq, seq}) {
				t.Fatalf("a reader of %s is told that %d is lost, which is intact", pattern, seq)
			}
			if there[seq] && filters[0].Match(r.Topic) != found[seq] {
				t.Fatalf("a reader of %s gets %d: %v", pattern, seq, found[seq])
			}
		}
	}
}

// keptOpen is a log that a hub does not close.
type keptOpen struct{ *Log }

func (keptOpen) Close() error { return nil }

// checkByID checks that some of the events are found by their ids, or known to be lost.
func (s *sufferer) checkByID(l *Log, gone spans, c contents) {
	t := s.t
	t.Helper()
	h, err := hub.New(t.Context(), keptOpen{l}, &hub.Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	st, _ := l.State(t.Context())
	asked := 0
	for _, hole := range gone {
		for _, seq := range []uint64{hole.first, hole.last} {
			_, err := h.Event(t.Context(), s.want[seq].Topic, st.Epochs.Position(seq))
			if e, ok := errors.AsType[*eventlog.NotFoundError](err); !ok || e.Reason != sse.GapLost {
				t.Fatalf("the event %d, which is gone: %v", seq, err)
			}
		}
	}
	for seq, id := range s.ids {
		if s.named && st.Epochs.Position(seq) != id {
			t.Fatalf("%d has the id %v, and had %v", seq, st.Epochs.Position(seq), id)
		}
	}
	for seq, r := range c.records {
		ev, err := h.Event(t.Context(), r.Topic, st.Epochs.Position(seq))
		if err != nil || ev.Data != r.Data {
			t.Fatalf("the event %d by its id: %+v, %v", seq, ev, err)
		}
		if asked++; asked == 5 {
			break
		}
	}
}

// A target is files that are damaged.
type target struct {
	name  string
	files func(t *testing.T, dir string) []string
	cost  bool // records may be lost
	doubt int
}

// targets returns every kind of file in the folder of a log.
func targets() []target {
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
				t.Fatalf("there is no %s: %v", pattern, err)
			}
			return names
		}
	}
	return []target{
		{"first segment", segment(func(int) int { return 0 }), true, 0},
		{"middle segment", segment(func(n int) int { return n / 2 }), true, 0},
		{"newest segment", segment(func(n int) int { return n - 1 }), true, 0},
		{"a sidecar", func(t *testing.T, dir string) []string { return glob("*"+sidecarSuffix)(t, dir)[:1] }, false, 0},
		{"all sidecars", glob("*" + sidecarSuffix), false, 0},
		{"state", glob(stateFile), false, 1},
		{"epochs", glob(epochsFile), false, 0},
		{"format", glob(formatFile), false, 0},
		{"lock", glob(lockFile), false, 0},
		{"spare", func(t *testing.T, dir string) []string {
			name := filepath.Join(dir, "77"+spareSuffix) // of an earlier process
			if err := os.WriteFile(name, make([]byte, 9000), 0o600); err != nil {
				t.Fatal(err)
			}
			return filesLike(t, name)
		}, false, 0},
		{"index: manifest", glob(storePrefix + "/MANIFEST-*"), false, 0},
		{"index: marker", glob(storePrefix + "/marker.*"), false, 0},
		{"index: options", glob(storePrefix + "/OPTIONS-*"), false, 0},
		{"index: tables", glob(storePrefix + "/*.sst"), false, 0},
	}
}

// suffers reports whether a test damages a file in a way. It tries the more curious ways on
// segments, and few on the index.
func (f target) suffers(way, when string) bool {
	switch {
	case f.cost:
		// While a process writes a file, nothing makes its beginning longer.
		return way != "inserted" || when != "open" || f.name != "newest segment"
	case strings.HasPrefix(f.name, "index"):
		return slices.Contains([]string{"bit", "page", "cut", "removal"}, way)
	case f.name == "spare":
		return !slices.Contains([]string{"last bit", "inserted", "moved", swap, foreign, older}, way)
	case f.name == "epochs" || f.name == "format" || f.name == "state" || f.name == "lock":
		return !slices.Contains([]string{"last bit", "inserted", "moved", swap}, way)
	}
	return !slices.Contains([]string{"last bit", "inserted", "moved"}, way)
}

// Damage costs the records that it hits, and no others. Each of them is told to every reader,
// also by its id, and counted. The log goes on, and starts again.
func TestDamage(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("the seed is %d", seed)
	pick := rand.New(rand.NewPCG(seed, 2))
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "file\tdamage\tbefore a start after kill -9\tafter a clean end\twhile open\t")
	var rows [][]string
	t.Run("of", func(t *testing.T) {
		for _, target := range targets() {
			for _, d := range append(slices.Clone(damages), exchanges...) {
				if !target.suffers(d.name, "") {
					continue
				}
				row := []string{target.name, d.name, "", "", ""}
				rows = append(rows, row)
				chosen := pick.IntN(3) // one of them in each run
				for i, when := range []string{"kill", "clean end", "open"} {
					if *soak == 0 && i != chosen || !target.suffers(d.name, when) {
						continue
					}
					t.Run(target.name+"/"+d.name+"/"+when, func(t *testing.T) {
						t.Parallel()
						row[2+i] = "-"
						row[2+i] = suffer(t, target, d, when, seed).String()
					})
				}
			}
		}
	})
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t")+"\t")
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Log("of 720 records, and then some more: lost / told to readers / in the metric\n" + table.String())
}

// suffer damages a log, and returns what that has cost.
func suffer(t *testing.T, target target, d damage, when string, seed uint64) (v verdict) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	s := &sufferer{t: t, want: map[uint64]eventlog.Record{}, ids: map[uint64]eventlog.Position{}, named: target.name != "epochs", doubt: target.doubt}
	s.opts = Options{Dir: t.TempDir(), Sync: time.Second, segmentBytes: 16 << 10, verifyRate: 1 << 30, files: unsynced{}, Logger: quiet()}
	s.opts.watch = -1 // otherwise some of this ends writing
	l := opened(t, s.opts)
	another := ""
	for n := range 12 {
		s.publish(l, 60)
		if n == 3 { // the index gets tables, and the log another epoch
			closeLog(t, l)
			l = opened(t, s.opts)
		}
		if n == 7 && d.name == older {
			another = copyFolder(t, s.opts.Dir)
		}
	}
	if d.name == foreign {
		another = t.TempDir()
		other := opened(t, Options{Dir: another, segmentBytes: 16 << 10, Sync: time.Second, files: unsynced{}, Logger: quiet()})
		publishMany(t, other, 500, 100)
		closeLog(t, other)
	}
	await(t, "four sidecars", func() bool {
		names, _ := filepath.Glob(filepath.Join(s.opts.Dir, "*"+sidecarSuffix))
		return len(names) >= 4
	})
	l.indexed(t)
	hurt := func() {
		t.Helper()
		for _, name := range target.files(t, s.opts.Dir) {
			if another != "" {
				replace(t, name, another)
			} else {
				d.do(t, name, rnd)
			}
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
		defer func() { _ = l.Close() }()
		hurt()
		there := intact(t, s.opts.Dir)
		if d.name == "removal" || d.name == swap {
			// The process has the file still.
			for seq := range read(t, l).records {
				there[seq] = true
			}
		}
		v = s.check(l, there, false)
		s.publish(l, 60)
		closeLog(t, l)
	}
	for range 2 {
		there := intact(t, s.opts.Dir)
		l = opened(t, s.opts)
		defer func() { _ = l.Close() }()
		v = s.check(l, there, true)
		s.publish(l, 60)
		s.check(l, intact(t, s.opts.Dir), true)
		closeLog(t, l)
	}
	if v.lost > 0 && !target.cost {
		t.Errorf("%d records are lost", v.lost)
	}
	return v
}
