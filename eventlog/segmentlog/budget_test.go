package segmentlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// A client that gives up a list, or a search, costs the index nothing.
func TestAbandonedReadsKeepTheIndex(t *testing.T) {
	l := opened(t, Options{Logger: quiet(), Sync: time.Second})
	defer closeLog(t, l)
	messages := make([]eventlog.Message, 1000)
	for i := range bucketSize + 5000 {
		messages[i%1000] = eventlog.Message{Topic: fmt.Sprintf("t.%d.x", i)}
		if i%1000 == 999 {
			l.Append(t.Context(), messages)
		}
	}
	l.indexed(t)
	l.index.mu.RLock()
	st := l.index.store
	l.index.mu.RUnlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	filters := topics.MustFilters("*.*.y")
	if _, err := l.Topics(ctx, filters[0], "", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("a list: %v", err)
	}
	if _, _, err := l.Count(ctx, filters, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("a count: %v", err)
	}
	if seqs, err := l.index.findStored(ctx, st, filters, 1, bucketSize-1); !errors.Is(err, context.Canceled) {
		t.Errorf("a search: %v, %v", seqs, err)
	}
	l.index.mu.RLock()
	defer l.index.mu.RUnlock()
	if st.failure.Load() != nil || l.index.store != st || !l.index.whole {
		t.Error("the index is gone")
	}
}

// The ids of a bucket's topics are in the order of their names, however often it is asked while
// topics come.
func TestBucketSort(t *testing.T) {
	b := newBucket(0, 0)
	for i := range 3000 {
		b.add(uint64(i), 0, fmt.Sprint("t.", i*7919%3001), false)
		if i%311 != 0 {
			continue
		}
		var names []string
		for _, id := range b.sort() {
			names = append(names, b.topics[id].name)
		}
		if len(names) != i+1 || !slices.IsSorted(names) {
			t.Fatalf("after %d topics: %d names, sorted %v", i+1, len(names), slices.IsSorted(names))
		}
	}
}

// A message that would add a topic or a key beyond the cap is refused, and those after it are
// not: also when the topics and keys are in the store, and after a start.
func TestCaps(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Logger: quiet(), Sync: time.Second, MaxTopics: 100, MaxKeys: 50}
	l := opened(t, opts)
	var messages []eventlog.Message
	for i := range 120 {
		m := eventlog.Message{Topic: fmt.Sprintf("t.%d", i)}
		if i < 60 {
			m.Key = "k"
		}
		messages = append(messages, m)
	}
	check := func(when string, results []eventlog.Appended) {
		t.Helper()
		var topics, keys int
		for i, a := range results {
			switch {
			case errors.Is(a.Err, eventlog.ErrTooManyTopics) && i >= 100:
				topics++
			case errors.Is(a.Err, eventlog.ErrTooManyKeys) && i >= 50 && i < 60:
				keys++
			case a.Err != nil:
				t.Fatalf("%s: message %d: %v", when, i, a.Err)
			}
		}
		if topics != 20 || keys != 10 {
			t.Errorf("%s: %d are refused for their topics, and %d for their keys", when, topics, keys)
		}
	}
	check("at first", l.Append(t.Context(), messages))
	// The topics whose messages were refused have none yet.
	for i := 50; i < 60; i++ {
		if a := l.Append(t.Context(), []eventlog.Message{{Topic: messages[i].Topic}})[0]; a.Err != nil {
			t.Fatalf("without a key: %v", a.Err)
		}
	}
	check("again", l.Append(t.Context(), messages))
	filler := make([]eventlog.Message, 1000)
	for i := range filler {
		filler[i].Topic = "t.0"
	}
	for range bucketSize/1000 + 2 { // so that the first bucket goes to the store
		l.Append(t.Context(), filler)
	}
	l.indexed(t)
	if n := l.index.topics.Load(); n != 100 {
		t.Errorf("the store has %d topics", n)
	}
	check("from the store", l.Append(t.Context(), messages))
	closeLog(t, l)
	l = opened(t, opts)
	l.indexed(t)
	check("after a start", l.Append(t.Context(), messages))
	closeLog(t, l)
}

// What a page of 100 topics costs, in the middle of many.
func BenchmarkTopics(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l, err := Open(b.Context(), &Options{Dir: b.TempDir(), Sync: time.Second, Logger: quiet()})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			messages := make([]eventlog.Message, 1000)
			for i := range n {
				messages[i%1000] = eventlog.Message{Topic: fmt.Sprintf("t.%07d", i)}
				if i%1000 == 999 {
					l.Append(b.Context(), messages)
				}
			}
			for { // the store follows
				l.index.mu.RLock()
				sealed := len(l.index.sealed)
				l.index.mu.RUnlock()
				if sealed == 0 {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			b.ReportAllocs()
			for b.Loop() {
				infos, err := l.Topics(b.Context(), topics.MustFilters("**")[0], fmt.Sprintf("t.%07d", n/2), 100)
				if err != nil || len(infos) != 100 {
					b.Fatal(len(infos), err)
				}
			}
		})
	}
}
