package segmentlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"example.com/tidings/eventlog"
)

// Keys live for the shorter of their message and the window. They answer the same after a
// restart, and after the index was made again, however many chunks they are in.
func TestKeysExpire(t *testing.T) {
	const window = time.Hour
	for name, opts := range map[string]Options{
		"window":  {MaxAge: -1, DedupWindow: window},
		"message": {MaxAge: window, DedupWindow: window, MaxBytes: 16 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			clock := &fakeClock{wall: time.Now()}
			opts.Dir, opts.Sync, opts.clock, opts.Logger = t.TempDir(), time.Second, clock.source, quiet()
			l := opened(t, opts)
			type used struct {
				seq uint64
				at  time.Duration
			}
			keys := map[string]used{}
			now := time.Duration(0)
			check := func(what string) {
				t.Helper()
				l.indexed(t)
				first := l.first.Load()
				for key, u := range keys {
					// Only those that are known are asked: asking others would store them.
					if now-u.at > window || u.seq < first {
						if found, err := l.index.keys.used(keyOf(t, l, key), l.clock.Now()); err != nil || found.seq != 0 {
							t.Fatalf("%s: the key %s of %d, which has expired, is known: %+v, %v", what, key, u.seq, found, err)
						}
						continue
					}
					got := l.Append(t.Context(), []eventlog.Message{{Topic: "a", Key: key, Data: "d"}, {Topic: "a", Key: key, Data: "other"}})
					if got[0] != (eventlog.Appended{ID: l.epochs.Position(u.seq), Repeat: true}) || !errors.Is(got[1].Err, eventlog.ErrKeyConflict) {
						t.Fatalf("%s: the key %s of %d, %v old: %+v", what, key, u.seq, now-u.at, got)
					}
				}
			}
			for step := range 18 {
				for i := range 20 {
					key := fmt.Sprintf("%d.%d", step%15, i) // some are used again
					a := l.Append(t.Context(), []eventlog.Message{{Topic: "a", Key: key, Data: "d"}})[0]
					if a.Err != nil || a.Repeat {
						t.Fatalf("the key %s: %+v", key, a)
					}
					keys[key] = used{a.ID.Seq, now}
				}
				clock.pass(window / 10)
				now += window / 10
				if step%3 == 2 {
					check("while open")
					closeLog(t, l)
					if step%6 == 2 {
						if err := os.RemoveAll(filepath.Join(opts.Dir, storePrefix)); err != nil {
							t.Fatal(err)
						}
					}
					l = opened(t, opts)
					check("after a restart")
				}
			}
			if name == "window" && len(l.index.keys.chunks) < 2 {
				t.Errorf("there are %d chunks", len(l.index.keys.chunks))
			}
			closeLog(t, l)
		})
	}
}

// keyOf returns the key of a message as prepare makes it.
func keyOf(t *testing.T, l *Log, key string) keyed {
	t.Helper()
	r := &request{messages: []eventlog.Message{{Topic: "a", Key: key, Data: "d"}}}
	if err := l.index.keys.prepare(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return r.keys[0]
}

// A key that was used again after the window stays that of the newer message when the older
// one is removed.
func TestRemoveAnOlderUseOfAKey(t *testing.T) {
	clock := &fakeClock{wall: time.Now()}
	opts := Options{Dir: t.TempDir(), MaxAge: -1, DedupWindow: time.Hour, clock: clock.source}
	l := opened(t, opts)
	m := eventlog.Message{Topic: "a", Key: "k", Data: "d"}
	publish(t, l, m)
	clock.pass(2 * time.Hour)
	if seqs := publish(t, l, m); seqs[0] != 2 {
		t.Fatalf("the key is known after the window: %v", seqs)
	}
	closeLog(t, l) // the keys go to the store
	l = opened(t, opts)
	if n, err := l.Remove(t.Context(), []uint64{1}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if a := l.Append(t.Context(), []eventlog.Message{m})[0]; a.Err != nil || !a.Repeat || a.ID.Seq != 2 {
		t.Errorf("the key of 2: %+v", a)
	}
	closeLog(t, l)
}

// The filters of all chunks together take no more than 64 MiB. A chunk without a filter is
// asked in the store.
func TestFilterMemory(t *testing.T) {
	if size := uintptr(mostChunks) * unsafe.Sizeof(filter{}); size > 64<<20 || size < 60<<20 {
		t.Errorf("the filters take %d bytes", size)
	}
	l := opened(t, Options{})
	m := eventlog.Message{Topic: "a", Key: "k", Data: "d"}
	publish(t, l, m)
	closeLog(t, l)
	l = opened(t, Options{Dir: l.opts.Dir})
	l.indexed(t)
	without := &keys{index: l.index, chunks: []*chunk{{id: l.index.keys.chunks[0].id}}}
	if found, err := without.lookup(hashKey("a", "k")); err != nil || found == nil || found.seq != 1 {
		t.Errorf("without a filter the key is that of %+v, %v", found, err)
	}
	closeLog(t, l)
}

// A filter has every key that was added to it, and few others.
func TestFilter(t *testing.T) {
	f := new(filter)
	const n = 20_000
	for i := range n {
		f.add(hashKey("a", fmt.Sprint(i)))
	}
	again, ok := decodeFilter(f.append(nil))
	if !ok {
		t.Fatal("the filter cannot be read")
	}
	wrong := 0
	for i := range n {
		if !again.has(hashKey("a", fmt.Sprint(i))) {
			t.Fatalf("the filter does not have key %d", i)
		}
		if again.has(hashKey("b", fmt.Sprint(i))) {
			wrong++
		}
	}
	if wrong > n/50 {
		t.Errorf("the filter has %d of %d keys that were not added", wrong, n)
	}
}
