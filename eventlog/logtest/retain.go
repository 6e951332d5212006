package logtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/sse"
)

type smallCase struct {
	name, rule string
	maxBytes   int64
	maxAge     time.Duration
	run        func(t *testing.T, l eventlog.Log)
}

// fill appends until the log has lost its first n records.
func fill(t *testing.T, l eventlog.Log, n uint64) eventlog.State {
	t.Helper()
	data := strings.Repeat("x", 1000)
	for i := 0; ; i++ {
		if st := state(t, l); st.First > n {
			return st
		}
		add(t, l, eventlog.Message{Topic: fmt.Sprintf("t.%d", i%3), Data: data})
		if i > 100000 {
			t.Fatal("nothing is removed")
		}
	}
}

var smallCases = []smallCase{
	{"bytes", "retention removes the oldest records first, and Read reports them as expired", 64 << 10, 0, func(t *testing.T, l eventlog.Log) {
		addTopics(t, l, "gone")
		st := fill(t, l, 20)
		for _, patterns := range []string{"**", "t.1", "t.*", "t.0 t.2", "none"} {
			q := eventlog.Query{Filters: filters(t, strings.Fields(patterns)...), UpTo: st.Last, MaxRecords: 10000, MaxBytes: 1 << 20}
			b := readBatch(t, l, q)
			if b.Hole != st.First-1 || b.Reason != sse.GapExpired {
				t.Fatalf("%s: %d is said to be lost, want %d (%q)", patterns, b.Hole, st.First-1, b.Reason)
			}
			q.After = st.First - 1
			if b := readBatch(t, l, q); b.Hole != 0 || patterns == "**" && b.Records[0].Seq != st.First {
				t.Fatalf("%s: after the gap: %+v", patterns, b.Hole)
			}
			q.After, q.UpTo = 2, 5
			if b := readBatch(t, l, q); b.Hole != 5 || b.Reason != sse.GapExpired || b.Through != 5 || len(b.Records) != 0 {
				t.Fatalf("%s: within the gap: %+v", patterns, b)
			}
		}
		q := eventlog.Query{Filters: filters(t, "gone"), UpTo: 1, MaxRecords: 1, MaxBytes: 1}
		if b := readBatch(t, l, q); b.Hole != 1 || b.Reason != sse.GapExpired || len(b.Records) != 0 {
			t.Errorf("a removed record: %+v", b)
		}
		if n, through, err := l.Count(within(t), filters(t, "**"), 0); err != nil || n != st.Last-st.First+1 || through != st.Last {
			t.Errorf("Count: %d through %d, %v; the state is %+v", n, through, err, st)
		}
		for _, limit := range []int{1, 2, 10} {
			if got := newest(t, l, "** gone", 0, st.Last, limit); !slices.Equal(got, []uint64{st.Last - 2, st.Last - 1, st.Last}) {
				t.Errorf("Newest, %d at a time, has %v; the state is %+v", limit, got, st)
			}
		}
		if seq, err := l.At(within(t), time.Now().Add(-time.Hour)); err != nil || seq != st.First {
			t.Errorf("At: %d, %v", seq, err)
		}
	}},
	{"too large", "a message that is larger than retention keeps gets a TooLargeError; it removes nothing, and uses no key", 64 << 10, 0, func(t *testing.T, l eventlog.Log) {
		large := eventlog.Message{Topic: "a", Key: "k", Data: strings.Repeat("x", 64<<10)}
		got := l.Append(within(t), []eventlog.Message{{Topic: "a", Data: "1"}, large, {Topic: "a", Data: "2"}})
		at := state(t, l).Epochs.Position
		if got[0] != (eventlog.Appended{ID: at(1)}) || got[2] != (eventlog.Appended{ID: at(2)}) {
			t.Errorf("those beside it got %+v", got)
		}
		if e, ok := errors.AsType[*eventlog.TooLargeError](got[1].Err); !ok || !errors.Is(e, eventlog.ErrTooLarge) || e.Limit != 64<<10 || e.Size <= e.Limit || e.Size > e.Limit+1000 {
			t.Errorf("it got %+v", got[1])
		}
		large.Data = large.Data[:60<<10]
		if got := l.Append(within(t), []eventlog.Message{large})[0]; got != (eventlog.Appended{ID: at(3)}) {
			t.Errorf("a shorter one with its key got %+v", got)
		}
		retains(t, l, 1, 3)
	}},
	{"age", "retention removes records that are too old, in the end all of them; the numbers go on", 0, 500 * time.Millisecond, func(t *testing.T, l eventlog.Log) {
		addTopics(t, l, "a", "b", "a")
		w := tail(t, l, 1)
		w.take(t, 2)
		deadline := time.Now().Add(patience)
		for state(t, l).First != 4 && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
		retains(t, l, 4, 3)
		for _, pattern := range []string{"**", "a", "x"} {
			q := eventlog.Query{Filters: filters(t, pattern), UpTo: 3, MaxRecords: 10, MaxBytes: 100}
			if b := readBatch(t, l, q); b.Hole != 3 || b.Reason != sse.GapExpired || len(b.Records) != 0 {
				t.Errorf("Read %s: %+v", pattern, b)
			}
		}
		if infos, err := l.Topics(within(t), filters(t, "**")[0], "", 10); err != nil || len(infos) != 0 {
			t.Errorf("Topics: %+v, %v", infos, err)
		}
		if seqs := newest(t, l, "**", 0, 3, 10); len(seqs) != 0 {
			t.Errorf("Newest: %v", seqs)
		}
		if seq, err := l.At(within(t), time.Now().Add(-time.Hour)); err != nil || seq != 4 {
			t.Errorf("At: %d, %v", seq, err)
		}
		want := addTopics(t, l, "c")
		if want[0].Seq != 4 {
			t.Errorf("the next is %d", want[0].Seq)
		}
		same(t, "the tail goes on", w.take(t, 1), want)
	}},
	{"under readers", "while retention removes records, each reader gets every record or learns that it has expired", 64 << 10, 0, func(t *testing.T, l eventlog.Log) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 2000 {
				l.Append(within(t), []eventlog.Message{{Topic: "t.1", Data: strings.Repeat("x", 500)}, {Topic: "t.2", Data: strings.Repeat("x", 500)}})
			}
		}()
		next := map[string]uint64{} // how far each reader is
		read := func(pattern string) {
			st := state(t, l)
			q := eventlog.Query{Filters: filters(t, pattern), After: next[pattern], UpTo: st.Last, MaxRecords: 20, MaxBytes: 1 << 20}
			if q.UpTo <= q.After {
				return
			}
			b := readBatch(t, l, q)
			at := max(q.After, b.Hole)
			for _, r := range b.Records {
				// t.1 has the odd numbers, t.2 the even ones.
				step := uint64(2)
				if pattern == "**" || r.Seq == at+1 {
					step = 1
				}
				if r.Seq != at+step {
					t.Fatalf("%s: after %d (lost: %d) comes %d", pattern, at, b.Hole, r.Seq)
				}
				at = r.Seq
			}
			if pattern == "**" && b.Through != at || b.Through > at+1 {
				t.Fatalf("%s: the batch reaches through %d, its last record is %d", pattern, b.Through, at)
			}
			next[pattern] = b.Through
		}
		for running := true; running; {
			select {
			case <-done:
				running = false
			default:
			}
			for _, pattern := range []string{"**", "t.1", "t.2", "t.*"} {
				read(pattern)
			}
		}
	}},
}
