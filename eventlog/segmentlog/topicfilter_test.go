package segmentlog

import (
	"fmt"
	"testing"
	"time"
)

// A filter has every topic that was added, and takes few others for one.
func TestTopicFilter(t *testing.T) {
	for _, n := range []int{1, 100, bucketSize} {
		f := newTopicFilter(n)
		name := func(i int) string { return fmt.Sprintf("users.%07d.inbox", i) }
		for i := range n {
			f.add(name(i))
		}
		for i := range n {
			if !f.has(name(i)) {
				t.Fatalf("a filter of %d topics does not have %s", n, name(i))
			}
		}
		wrong := 0
		for i := range 10_000 {
			if f.has(name(n + i)) {
				wrong++
			}
		}
		if wrong > 300 {
			t.Errorf("a filter of %d topics has %d of 10,000 others", n, wrong)
		}
	}
	if topicFilter(nil).has("a") {
		t.Error("an empty filter has a topic")
	}
}

// The filters of the buckets in the store are read when they are first asked for, answer
// instead of the store, and go with their buckets.
func TestTopicFiltersOfBuckets(t *testing.T) {
	l := opened(t, Options{Dir: t.TempDir(), Sync: time.Second})
	defer closeLog(t, l)
	publishTopics(t, l, 2*bucketSize)
	x := l.index
	var st *store
	await(t, "two buckets in the store", func() bool {
		x.mu.RLock()
		defer x.mu.RUnlock()
		st = x.store
		return x.applied == 2
	})
	for n := range uint64(2) {
		if !x.mayHave(st, n, "rare") || x.mayHave(st, n, "no such topic") {
			t.Errorf("the filter of bucket %d is wrong", n)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.filters) != 2 || x.filterBytes != len(x.filters[0])+len(x.filters[1]) {
		t.Errorf("%d filters of %d bytes are in memory, want 2", len(x.filters), x.filterBytes)
	}
	if x.dropFilters(1); len(x.filters) != 1 || x.filterBytes != len(x.filters[1]) {
		t.Errorf("%d filters of %d bytes are left, want 1", len(x.filters), x.filterBytes)
	}
}
