package segmentlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// publishTopics appends n messages on the topics that model.agrees asks for. Each tenth has
// a key, which is its data.
func publishTopics(t *testing.T, l *Log, n int) {
	t.Helper()
	start := l.lastSeq()
	for i := 0; i < n; {
		batch := make([]eventlog.Message, min(n-i, 1000))
		for k := range batch {
			seq := start + uint64(i) + 1
			m := eventlog.Message{Topic: fmt.Sprintf("t.%d", i%20), Data: fmt.Sprint("m", seq)}
			if i%3 == 0 {
				m.Topic = fmt.Sprintf("u.%d.%d", i%30, i%7)
			}
			if i%997 == 0 {
				m.Topic = "rare"
			}
			if i%10 == 0 {
				m.Key = m.Data
			}
			batch[k] = m
			i++
		}
		publish(t, l, batch...)
	}
}

// wantKeys checks that the keys of some of the log's messages answer as they must.
func wantKeys(t *testing.T, l *Log, m model) {
	t.Helper()
	asked := 0
	for i := range m.records {
		r := &m.records[len(m.records)-1-i]
		if !strings.HasPrefix(r.Data, "m") || (i > 2000 && i%501 > 20) {
			continue
		}
		if asked++; asked > 300 {
			break
		}
		other := eventlog.Message{Topic: r.Topic, Key: r.Data, Data: r.Data + "!"}
		a := l.Append(t.Context(), []eventlog.Message{{Topic: r.Topic, Key: r.Data, Data: r.Data}})[0]
		switch {
		case a.Err != nil:
			t.Fatalf("the key of %d: %+v", r.Seq, a)
		case a.Repeat && a.ID != l.epochs.Position(r.Seq):
			t.Fatalf("the key of %d is that of %v", r.Seq, a.ID)
		case a.Repeat:
			if b := l.Append(t.Context(), []eventlog.Message{other})[0]; !errors.Is(b.Err, eventlog.ErrKeyConflict) {
				t.Fatalf("the key of %d with other data: %+v", r.Seq, b)
			}
		default:
			t.Fatalf("the key of %d is not known", r.Seq)
		}
	}
}

// keyedOnly returns the model without the messages that have no key.
func (m model) keyedOnly(start uint64) model {
	var kept []eventlog.Record
	for _, r := range m.records {
		if (r.Seq-start-1)%10 == 0 {
			kept = append(kept, r)
		}
	}
	m.records = kept
	return m
}

// Whatever happens to the index, closed or open, the log answers as before.
func TestIndexDamage(t *testing.T) {
	origin := t.TempDir()
	opts := Options{Dir: origin, Sync: time.Second, segmentBytes: 1 << 20, Logger: quiet()}
	l := opened(t, opts)
	publishTopics(t, l, 70_000)
	l.indexed(t)
	want := modelOf(t, l)
	closeLog(t, l)
	seed := rand.Uint64()
	t.Logf("the seed is %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	kinds := map[string]string{"tables": "*.sst", "manifest": "MANIFEST-*", "markers": "marker.*", "everything": "*"}
	for kind, pattern := range kinds {
		for _, d := range damages {
			if d.name == "last bit" || d.name == "page" && kind != "tables" {
				continue
			}
			for _, when := range []string{"closed", "open"} {
				if *soak == 0 && rnd.IntN(4) > 0 {
					continue // a few of them in each run
				}
				t.Run(kind+"/"+d.name+"/"+when, func(t *testing.T) {
					opts := opts
					opts.Dir = copyFolder(t, origin)
					hurt := func() {
						t.Helper()
						names, err := filepath.Glob(filepath.Join(opts.Dir, storePrefix, pattern))
						if err != nil || len(names) == 0 {
							t.Fatalf("no file is called %s", pattern)
						}
						for _, name := range names {
							d.do(t, name, rnd)
						}
					}
					if when == "closed" {
						hurt()
					}
					l := opened(t, opts)
					if when == "open" {
						l.indexed(t)
						hurt()
					}
					wantKeys(t, l, want.keyedOnly(0))
					want.quickly(t, l)
					publish(t, l, eventlog.Message{Topic: "extra", Data: "1"}, eventlog.Message{Topic: "extra", Data: "2", Key: "k"})
					l.indexed(t)
					want.quickly(t, l)
					closeLog(t, l)
					l = opened(t, opts)
					l.indexed(t)
					want.quickly(t, l)
					wantKeys(t, l, want.keyedOnly(0))
					closeLog(t, l)
				})
			}
		}
	}
}

// quickly is a short agrees for a log that has some records more.
func (m model) quickly(t *testing.T, l *Log) {
	t.Helper()
	ctx := t.Context()
	for _, pattern := range []string{"t.1", "u.6.**", "rare", "u.3.3"} {
		filters := topics.MustFilters(pattern)
		count := uint64(0)
		var last uint64
		for i := range m.records {
			if filters[0].Match(m.records[i].Topic) {
				count, last = count+1, m.records[i].Seq
			}
		}
		if n, _, err := l.Count(ctx, filters, 0); n != count || err != nil {
			t.Errorf("%s: Count is %d, %v; want %d", pattern, n, err, count)
		}
		sum, newest := uint64(0), uint64(0)
		infos, err := l.Topics(ctx, filters[0], "", 1000)
		for _, info := range infos {
			sum, newest = sum+info.Count, max(newest, info.Last.Seq)
		}
		if err != nil || sum != count || newest != last {
			t.Errorf("%s: the topics have %d records, the last is %d, %v; want %d, %d", pattern, sum, newest, err, count, last)
		}
		if back, err := l.Back(ctx, filters, 1, m.last); err != nil || back != last-1 {
			t.Errorf("%s: one back is %d, %v; want %d", pattern, back, err, last-1)
		}
		seqs, _, err := l.Newest(ctx, filters, last-1, m.last, 10)
		if err != nil || len(seqs) == 0 || seqs[0] != last {
			t.Errorf("%s: the newest are %v, %v; want %d", pattern, seqs, err, last)
		}
		read := 0
		for at := uint64(0); at < m.last; {
			b, err := l.Read(ctx, eventlog.Query{Filters: filters, After: at, UpTo: m.last, MaxRecords: 1000, MaxBytes: 1 << 20})
			if err != nil || b.Hole > 0 {
				t.Fatalf("%s: Read after %d: hole to %d, %v", pattern, at, b.Hole, err)
			}
			read, at = read+len(b.Records), b.Through
		}
		if read != int(count) {
			t.Errorf("%s: %d records are read, want %d", pattern, read, count)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// Removals count after kill -9, too: in the answers that come from the index, and for keys.
func TestRemovalsSurviveKill(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Sync: time.Second, segmentBytes: 1 << 20, Logger: quiet()}
	l := opened(t, opts)
	publishTopics(t, l, 70_000)
	l.indexed(t)
	closeLog(t, l)
	l = opened(t, opts)
	l.indexed(t)
	removed := []uint64{1, 11, 21, 1001, 69_991, 69_992}
	if n, err := l.Remove(t.Context(), removed); n != len(removed) || err != nil {
		t.Fatal(n, err)
	}
	if _, err := l.RemoveTopic(t.Context(), "rare", 60_000); err != nil {
		t.Fatal(err)
	}
	dir := copyFolder(t, opts.Dir)
	closeLog(t, l)
	opts.Dir = dir
	l = opened(t, opts)
	a := l.Append(t.Context(), []eventlog.Message{{Topic: "rare", Key: "m1", Data: "m1"}})[0] // that of 1
	if a.Err != nil || a.Repeat {
		t.Errorf("the key of a removed record: %+v", a)
	}
	l.indexed(t)
	modelOf(t, l).agrees(t, l, "after kill -9", rand.New(rand.NewPCG(1, 1)))
	closeLog(t, l)
}

// Keyed publishing goes on while the index fails again and again. No message is stored
// twice, and no publisher gets an error.
func TestKeysWhileTheIndexFails(t *testing.T) {
	l := opened(t, Options{Sync: time.Second, segmentBytes: 1 << 20, Logger: quiet()})
	publishTopics(t, l, 70_000)
	l.indexed(t)
	closeLog(t, l)
	l = opened(t, Options{Dir: l.opts.Dir, Sync: time.Second, segmentBytes: 1 << 20, Logger: quiet()})
	l.indexed(t)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for who := range 4 {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				seq := uint64(n*10*(who+1)%70_000/10*10) + 1
				m := eventlog.Message{Topic: topicOf(seq), Key: fmt.Sprint("m", seq), Data: fmt.Sprint("m", seq)}
				got := l.Append(t.Context(), []eventlog.Message{m, {Topic: "plain"}})
				if got[0].Err != nil || !got[0].Repeat || got[0].ID.Seq != seq || got[1].Err != nil {
					t.Errorf("the key of %d, and a message without one: %+v", seq, got)
					return
				}
			}
		})
	}
	for range 3 {
		l.indexed(t)
		l.index.mu.RLock()
		st := l.index.store
		l.index.mu.RUnlock()
		st.failed(errors.New("the test says so"))
		await(t, "another store", func() bool {
			l.index.mu.RLock()
			defer l.index.mu.RUnlock()
			return l.index.store != st
		})
	}
	l.indexed(t)
	cancel()
	all.Wait()
	closeLog(t, l)
}

// topicOf returns the topic of a message that publishTopics has stored first.
func topicOf(seq uint64) string {
	i := int(seq - 1)
	switch {
	case i%997 == 0:
		return "rare"
	case i%3 == 0:
		return fmt.Sprintf("u.%d.%d", i%30, i%7)
	}
	return fmt.Sprintf("t.%d", i%20)
}

// A data folder that was taken away is not made again by the index.
func TestIndexWithoutItsFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	if st, err := openStore(&Options{Dir: dir, indexFiles: indexDisk{vfs.Default}, Logger: quiet()}, nil, func() {}); err == nil {
		st.close(false)
		t.Error("there is an index without the folder of the log")
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder: %v", err)
	}
}

// With little memory and few files the index answers the same. Other values are refused.
func TestIndexWithLittleMemory(t *testing.T) {
	opts := Options{Dir: t.TempDir(), IndexMemory: 1 << 20, IndexFiles: 64, Sync: time.Hour, segmentBytes: 1 << 20, Logger: quiet()}
	for _, n := range []int{70_000, 1000} { // the second time, the index is opened again
		l := opened(t, opts)
		publishTopics(t, l, n)
		l.indexed(t)
		for _, topic := range []string{"t.1", "rare"} {
			if infos, err := l.Topics(t.Context(), filterOf(topic), "", 10); err != nil || len(infos) != 1 || infos[0].Count == 0 {
				t.Errorf("%s: %+v, %v", topic, infos, err)
			}
		}
		closeLog(t, l)
	}
	for name, opts := range map[string]Options{"memory": {IndexMemory: -1}, "number of open files": {IndexFiles: -1}} {
		opts.Dir = t.TempDir()
		if _, err := Open(t.Context(), &opts); err == nil || !strings.Contains(err.Error(), name+" of the index, -1") {
			t.Errorf("a negative %s: %v", name, err)
		}
	}
}
