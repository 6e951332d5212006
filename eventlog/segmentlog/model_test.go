package segmentlog

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// await waits until a condition holds. The limit only catches a hang.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come", what)
		}
	}
}

// indexed waits until the index has everything.
func (l *Log) indexed(t *testing.T) {
	t.Helper()
	await(t, "the index", func() bool {
		l.index.mu.RLock()
		defer l.index.mu.RUnlock()
		return l.index.whole && len(l.index.sealed) == 0 && l.index.keys.complete()
	})
}

// A model has every record of a log, as a reader of all topics gets them.
type model struct {
	first, last uint64
	records     []eventlog.Record
}

func modelOf(t *testing.T, l *Log) model {
	t.Helper()
	st, err := l.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := model{first: st.First, last: st.Last}
	q := eventlog.Query{Filters: topics.MustFilters("**"), After: st.First - 1, UpTo: st.Last, MaxRecords: 1000, MaxBytes: 1 << 20}
	for q.After < q.UpTo {
		b, err := l.Read(t.Context(), q)
		if err != nil || b.Hole > 0 && b.Reason != sse.GapRemoved {
			t.Fatalf("Read after %d: hole to %d, %s, %v", q.After, b.Hole, b.Reason, err)
		}
		m.records = append(m.records, b.Records...)
		q.After = b.Through
	}
	return m
}

// agrees checks that a log answers as its model.
func (m model) agrees(t *testing.T, l *Log, what string, rnd *rand.Rand) {
	t.Helper()
	ctx := t.Context()
	for _, pattern := range []string{"**", "t.1", "t.*", "u.5.**", "*.7", "rare", "none", "t.3 rare", "u.1.2 u.*.3"} {
		filters := topics.MustFilters(strings.Fields(pattern)...)
		var found []eventlog.Record
		for _, r := range m.records {
			if topics.MatchAny(filters, r.Topic) {
				found = append(found, r)
			}
		}
		after := m.first - 1 + rnd.Uint64N(m.last-m.first+1)
		i := sort.Search(len(found), func(i int) bool { return found[i].Seq > after })
		for from, want := range map[uint64]int{0: len(found), m.first - 1: len(found), after: len(found) - i} {
			if n, _, err := l.Count(ctx, filters, from); err != nil || n != uint64(want) {
				t.Errorf("%s, %s: Count after %d is %d, %v; want %d", what, pattern, from, n, err, want)
			}
		}
		for _, n := range []int{1, 10, 1000} {
			want := uint64(0)
			if i >= n {
				want = found[i-n].Seq - 1
			}
			if back, err := l.Back(ctx, filters, n, after); err != nil || back != want {
				t.Errorf("%s, %s: %d back from %d is %d, %v; want %d", what, pattern, n, after, back, err, want)
			}
		}
		var read []eventlog.Record
		for at := after; at < m.last; {
			b, err := l.Read(ctx, eventlog.Query{Filters: filters, After: at, UpTo: m.last, MaxRecords: 300, MaxBytes: 1 << 20})
			if err != nil || b.Hole > 0 && b.Reason != sse.GapRemoved {
				t.Fatalf("%s, %s: Read after %d: %+v, %v", what, pattern, at, b, err)
			}
			read = append(read, b.Records...)
			at = b.Through
		}
		if !slices.Equal(read, found[i:]) {
			t.Errorf("%s, %s: Read after %d returns %d records, want %d", what, pattern, after, len(read), len(found)-i)
		}
		known := map[string]*eventlog.TopicInfo{}
		for _, r := range found {
			if known[r.Topic] == nil {
				known[r.Topic] = &eventlog.TopicInfo{Topic: r.Topic}
			}
			info := known[r.Topic]
			info.Count, info.Last, info.Time = info.Count+1, l.epochs.Position(r.Seq), r.Time
		}
		var infos []eventlog.TopicInfo
		var newest []uint64
		for _, name := range slices.Sorted(maps.Keys(known)) {
			infos = append(infos, *known[name])
			newest = append(newest, known[name].Last.Seq)
		}
		slices.Sort(newest)
		if len(filters) == 1 {
			for from, want := 0, infos; ; from += 1 + rnd.IntN(3000) {
				after := ""
				if from > 0 {
					if from >= len(infos) {
						break
					}
					after, want = infos[from-1].Topic, infos[from:]
				}
				limit := 1 + rnd.IntN(50)
				got, err := l.Topics(ctx, filters[0], after, limit)
				if want = want[:min(limit, len(want))]; err != nil || !slices.Equal(got, want) {
					t.Fatalf("%s, %s: %d topics after %q are %.300s…, %v; want %.300s…", what, pattern, limit, after, fmt.Sprint(got), err, fmt.Sprint(want))
				}
			}
		}
		// From the middle, because looking at each record takes long.
		var got []uint64
		from := max(after, m.last-min(m.last, 20_000))
		newest = slices.DeleteFunc(newest, func(seq uint64) bool { return seq <= from })
		for at := from; at < m.last; {
			seqs, through, err := l.Newest(ctx, filters, at, m.last, 1000)
			if err != nil {
				t.Fatal(err)
			}
			got, at = append(got, seqs...), through
		}
		if !slices.Equal(got, newest) {
			t.Errorf("%s, %s: Newest finds %d, want %d", what, pattern, len(got), len(newest))
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// The log answers as a search through all records does: while records expire and are
// removed, after restarts, and after it was deleted.
func TestIndexAgrees(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	opts := Options{Dir: t.TempDir(), Sync: time.Second, MaxBytes: 6 << 20, DedupWindow: time.Hour}
	l := opened(t, opts)
	publish := func(n int) {
		t.Helper()
		for n > 0 {
			batch := make([]eventlog.Message, min(n, 500))
			for i := range batch {
				m := eventlog.Message{Data: strings.Repeat("x", rnd.IntN(60))}
				switch k := rnd.IntN(1000); {
				case k == 0:
					m.Topic = "rare"
				case k < 500:
					m.Topic = fmt.Sprintf("t.%d", rnd.IntN(20))
				default:
					m.Topic = fmt.Sprintf("u.%d.%d", rnd.IntN(40), rnd.IntN(40))
				}
				batch[i] = m
			}
			for _, a := range l.Append(t.Context(), batch) {
				if a.Err != nil {
					t.Fatal(a.Err)
				}
			}
			n -= len(batch)
		}
	}
	check := func(what string) {
		t.Helper()
		l.indexed(t)
		modelOf(t, l).agrees(t, l, what, rnd)
	}
	remove := func(n int) {
		t.Helper()
		st, _ := l.State(t.Context())
		var seqs []uint64
		for range n {
			seqs = append(seqs, st.First+rnd.Uint64N(st.Last-st.First+1))
		}
		if _, err := l.Remove(t.Context(), seqs); err != nil {
			t.Fatal(err)
		}
	}
	publish(1000)
	remove(50)
	check("few, some removed")
	publish(75_000)
	remove(2000)
	if _, err := l.RemoveTopic(t.Context(), "t.1", l.lastSeq()-20_000); err != nil {
		t.Fatal(err)
	}
	check("some buckets, some removed")
	publish(75_000)
	check("the oldest have expired")
	for _, index := range []bool{true, false} {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if !index {
			if err := os.RemoveAll(filepath.Join(opts.Dir, storePrefix)); err != nil {
				t.Fatal(err)
			}
		}
		l = opened(t, opts)
		check(fmt.Sprintf("after a restart, with the index: %v", index))
		if index {
			publish(30_000)
			remove(1000)
			check("and more")
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
