package segmentlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// made waits until the goroutine of the index has done what was asked of it, and returns the
// store, which has everything.
func (x *index) made(t *testing.T) *store {
	t.Helper()
	await(t, "the index", func() bool {
		r := &removal{done: make(chan struct{})}
		x.removals <- r
		<-r.done
		return !x.repaired.Load()
	})
	x.log.indexed(t)
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.store
}

// While the index is made again and again, keys answer, and so do counts and searches: none
// takes what one store says for what another one lacks.
func TestAnswersWhileTheIndexIsMadeAgain(t *testing.T) {
	const first, n = bucketSize - 300, 400 // most records are in the store
	opts := Options{Dir: t.TempDir(), Sync: time.Second, Logger: quiet()}
	closeLog(t, opened(t, opts))
	changeState(t, opts.Dir, func(st *state) { st.first, st.acknowledged, st.synced = first, first-1, first-1 })
	l := opened(t, opts)
	var messages []eventlog.Message
	for i := range n {
		messages = append(messages, eventlog.Message{Topic: fmt.Sprint("t.", i%3), Key: fmt.Sprint("k", i), Data: "d"})
	}
	publish(t, l, messages...)
	if removed, err := l.Remove(t.Context(), []uint64{first, first + 100, first + 200}); removed != 3 || err != nil {
		t.Fatal(removed, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	ask := func(what string, ask func(i int) (got any, err error), want func(i int) any) {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if got, err := ask(i); err != nil || got != want(i) {
					t.Errorf("%s is %v, %v; want %v", what, got, err, want(i))
					return
				}
			}
		})
	}
	ask("a key", func(i int) (any, error) {
		a := l.Append(t.Context(), messages[1+i%99:][:1])[0]
		return a.ID.Seq, a.Err
	}, func(i int) any { return uint64(first + 1 + i%99) })
	for _, filter := range []string{"t.*", "t.0 t.1 t.2"} {
		ask("the count of "+filter, func(int) (any, error) {
			count, _, err := l.Count(t.Context(), topics.MustFilters(strings.Fields(filter)...), 0)
			return count, err
		}, func(int) any { return uint64(n - 3) })
	}
	ask("the one before 298", func(int) (any, error) {
		return l.Back(t.Context(), topics.MustFilters("t.*"), 298, first+299)
	}, func(int) any { return uint64(0) })
	for range 12 {
		before := l.index.made(t)
		l.index.repaired.Store(true)
		l.index.signal()
		if l.index.made(t) == before {
			t.Fatal("the index is not made again")
		}
	}
	cancel()
	all.Wait()
	closeLog(t, l)
}

// A view of a store that goes meanwhile counts for nothing: what the index knows beside it went first.
func TestViewOfAStoreThatGoes(t *testing.T) {
	l := opened(t, Options{Logger: quiet()})
	publishMany(t, l, 10, 10)
	x := l.index
	before := x.made(t)
	ok, err := x.view(t.Context(), func(*topicsView) error {
		x.repaired.Store(true)
		x.signal()
		await(t, "the end of the store", func() bool {
			x.mu.RLock()
			defer x.mu.RUnlock()
			return x.store != before
		})
		return nil
	})
	if ok || err != nil {
		t.Errorf("the view is taken for what the index knows: %v, %v", ok, err)
	}
	closeLog(t, l)
}

// A key is known, or it is not known whether it is, while the store with it goes and comes.
func TestKeysWhileTheStoreGoes(t *testing.T) {
	l := opened(t, Options{Logger: quiet()})
	publish(t, l, eventlog.Message{Topic: "a", Key: "k", Data: "d"})
	closeLog(t, l) // the key goes to the store
	l = opened(t, Options{Dir: l.opts.Dir, Logger: quiet()})
	l.indexed(t)
	chunks := l.index.keys.chunks
	k := newKeys(l.index)
	come := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.setChunks(chunks)
		k.version++
		k.whole = true
		close(k.ready)
	}
	come()
	key := keyOf(t, l, "k")
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		for ctx.Err() == nil {
			k.unready()
			come()
		}
	})
	known := 0
	for range 100_000 {
		found, err := k.used(key, l.clock.Now())
		if err == nil {
			known++
		}
		if err == nil && found.seq != 1 || err != nil && !errors.Is(err, errStore) {
			t.Errorf("the key is that of %d, %v", found.seq, err)
			break
		}
	}
	cancel()
	all.Wait()
	t.Logf("known %d times", known)
	closeLog(t, l)
}

// Records that are missing at the end of a segment cost no index: the verification of each start
// finds them missing still. It is made again when they are there.
func TestMissingEndKeepsTheIndex(t *testing.T) {
	var file string
	var whole []byte
	dir, gone := damaged(t, func(dir string) {
		file = segmentFiles(t, dir)[2]
		whole, _ = os.ReadFile(file)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	})
	for start := range 3 {
		if start == 2 {
			if err := os.WriteFile(file, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			gone = nil
		}
		l := opened(t, Options{Dir: dir, verifyRate: 1, Logger: quiet(), files: unsynced{}})
		before := l.index.made(t)
		list := l.list()
		v := &verification{log: l, rate: 1 << 40, segments: list[:len(list)-1]}
		v.run()
		if again := l.index.made(t) != before; again && start == 1 {
			t.Error("the index is made again")
		}
		if st := l.Stats(); st.Lost != gone.count() {
			t.Errorf("start %d: %d messages are lost, want %d", start, st.Lost, gone.count())
		}
		if n := countOf(t, l, "often"); n != 3000-30-int(gone.count())+int(rareIn(gone)) {
			t.Errorf("start %d: a reader of a topic gets %d, lost are %v", start, n, gone)
		}
		closeLog(t, l)
	}
}

// rareIn returns how many of the numbers are those of a rare message of damaged.
func rareIn(gone spans) (n uint64) {
	for _, seq := range numbers(gone) {
		if seq%100 == 1 {
			n++
		}
	}
	return n
}
