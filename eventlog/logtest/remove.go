package logtest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/sse"
)

// remove removes records, and checks how many.
func remove(t *testing.T, l eventlog.Log, want int, seqs ...uint64) {
	t.Helper()
	if n, err := l.Remove(within(t), seqs); n != want || err != nil {
		t.Fatalf("Remove(%v) has removed %d: %v; want %d", seqs, n, err, want)
	}
}

// A hole is one that readers are told.
type hole struct {
	through uint64
	reason  string
}

// readAround reads, batch by batch, all records that the filters match, and the holes
// between them.
func readAround(t *testing.T, l eventlog.Log, patterns ...string) (records []eventlog.Record, holes []hole) {
	t.Helper()
	q := eventlog.Query{Filters: filters(t, patterns...), UpTo: state(t, l).Last, MaxRecords: 3, MaxBytes: 1 << 20}
	for q.After < q.UpTo {
		b := readBatch(t, l, q)
		if b.Hole != 0 {
			holes = append(holes, hole{b.Hole, b.Reason})
		}
		records = append(records, b.Records...)
		q.After = b.Through
	}
	return records, holes
}

// without returns the records but those with the given numbers.
func without(records []eventlog.Record, seqs ...uint64) []eventlog.Record {
	return slices.DeleteFunc(slices.Clone(records), func(r eventlog.Record) bool { return slices.Contains(seqs, r.Seq) })
}

var removeCases = []logCase{
	{"Remove/read", "a reader gets a hole for a removed record, and all others", func(t *testing.T, l eventlog.Log) {
		want := addTopics(t, l, "a", "b", "a", "a", "b", "a")
		remove(t, l, 1, 3)
		for _, patterns := range [][]string{{"**"}, {"a"}, {"a", "b"}, {"*"}} {
			got, holes := readAround(t, l, patterns...)
			same(t, "around the hole", got, selected(without(want, 3), filters(t, patterns...)))
			if !slices.Equal(holes, []hole{{3, sse.GapRemoved}}) {
				t.Errorf("%v: the holes are %v", patterns, holes)
			}
		}
		got, _ := readAround(t, l, "b")
		same(t, "another topic", got, selected(want, filters(t, "b")))
		retains(t, l, 1, 6)
	}},
	{"Remove/again", "a number without a retained record counts for nothing", func(t *testing.T, l eventlog.Log) {
		addTopics(t, l, "a", "b", "a")
		remove(t, l, 2, 1, 2)
		remove(t, l, 1, 1, 2, 3, 3, 4, 0)
		remove(t, l, 0)
		got, _ := readAround(t, l, "**")
		same(t, "all", got, nil)
	}},
	{"Remove/lookup", "Count, Back, Newest and Topics leave removed records out", func(t *testing.T, l eventlog.Log) {
		addTopics(t, l, "a", "b", "a", "c", "b", "a")
		remove(t, l, 3, 6, 4, 2)
		for pattern, want := range map[string]uint64{"**": 3, "a": 2, "b": 1, "c": 0} {
			if n, _, err := l.Count(within(t), filters(t, pattern), 0); n != want || err != nil {
				t.Errorf("%s: %d records, %v; want %d", pattern, n, err, want)
			}
		}
		for n, want := range map[int]uint64{1: 4, 2: 2, 3: 0, 4: 0} {
			if after, err := l.Back(within(t), filters(t, "**"), n, 6); after != want || err != nil {
				t.Errorf("%d back: %d, %v; want %d", n, after, err, want)
			}
		}
		if got := newest(t, l, "**", 0, 6, 10); !slices.Equal(got, []uint64{3, 5}) {
			t.Errorf("the newest are %v", got)
		}
		infos, err := l.Topics(within(t), filters(t, "**")[0], "", 10)
		if err != nil || len(infos) != 2 || infos[0].Topic != "a" || infos[0].Count != 2 || infos[0].Last.Seq != 3 || infos[1].Topic != "b" || infos[1].Count != 1 || infos[1].Last.Seq != 5 {
			t.Errorf("the topics are %+v, %v", infos, err)
		}
	}},
	{"Remove/key", "the key of a removed record may be used again", func(t *testing.T, l eventlog.Log) {
		add(t, l, eventlog.Message{Topic: "a", Key: "k", Data: "1"})
		remove(t, l, 1, 1)
		add(t, l, eventlog.Message{Topic: "a", Key: "k", Data: "2"})
		got := l.Append(within(t), []eventlog.Message{{Topic: "a", Key: "k", Data: "2"}, {Topic: "a", Key: "k", Data: "1"}})
		if want := (eventlog.Appended{ID: state(t, l).Epochs.Position(2), Repeat: true}); got[0] != want || !errors.Is(got[1].Err, eventlog.ErrKeyConflict) {
			t.Errorf("got %+v", got)
		}
	}},
	{"Remove/tail", "Tail skips removed records, and numbers go on", func(t *testing.T, l eventlog.Log) {
		want := addTopics(t, l, "a", "b", "c")
		remove(t, l, 2, 3, 1)
		w := tail(t, l, 0)
		same(t, "what is left", w.take(t, 1), want[1:2])
		more := addTopics(t, l, "d")
		if more[0].Seq != 4 {
			t.Errorf("the next is %d", more[0].Seq)
		}
		same(t, "what comes", w.take(t, 1), more)
	}},
	{"RemoveTopic", "RemoveTopic removes the records of a topic up to a number", func(t *testing.T, l eventlog.Log) {
		want := addTopics(t, l, "a", "a.b", "a", "b", "a", "a")
		for _, c := range []struct {
			topic string
			upTo  uint64
			n     int
		}{{"a", 5, 3}, {"a", 5, 0}, {"none", 6, 0}, {"b", 100, 1}} {
			if n, err := l.RemoveTopic(within(t), c.topic, c.upTo); n != c.n || err != nil {
				t.Fatalf("RemoveTopic(%q, %d) has removed %d: %v; want %d", c.topic, c.upTo, n, err, c.n)
			}
		}
		got, _ := readAround(t, l, "**")
		same(t, "what is left", got, without(want, 1, 3, 4, 5))
	}},
	{"Remove/done", "if the context is done, Remove returns its error", func(t *testing.T, l eventlog.Log) {
		addTopics(t, l, "a")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if n, err := l.Remove(ctx, []uint64{1}); n != 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("got %d, %v", n, err)
		}
		retains(t, l, 1, 1)
	}},
}
