package logtest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// selected returns the records that one of the filters matches.
func selected(records []eventlog.Record, fs []topics.Filter) []eventlog.Record {
	var out []eventlog.Record
	for _, r := range records {
		if slices.ContainsFunc(fs, func(f topics.Filter) bool { return f.Match(r.Topic) }) {
			out = append(out, r)
		}
	}
	return out
}

var readCases = []logCase{
	{"Read/filters", "Read returns the records that one of the filters matches, each once, in order", func(t *testing.T, l eventlog.Log) {
		all := addTopics(t, l, "a", "b", "a.b", "a.c", "a.b.c", "b.b", "c.b.a", "a.b", "aa", "a.bb.c", "b", "A.b")
		for _, patterns := range []string{
			"a", "b", "a.b", "a.*", "*.b", "*", "**", "a.**", "a.*.c", "*.*", "*.*.*", "*.b.**", "nothing", "a.b.c.d",
			"a b", "a.* *.b", "a.* a.b", "** a", "a.b.* *.b.c a.*.c", "a.** b.** *.b.a", "* *.*", "nothing a", "nothing none.*",
		} {
			fs := strings.Fields(patterns)
			same(t, patterns, everything(t, l, 0, fs...), selected(all, filters(t, fs...)))
		}
	}},
	{"Read/random", "whatever the beginning, the end and the bounds, the batches together have all records that match", func(t *testing.T, l eventlog.Log) {
		random := rand.New(rand.NewPCG(1, 2))
		// The log has stretches in which some topics are frequent, and others rare.
		var messages []eventlog.Message
		for i := range 3000 {
			topic := fmt.Sprintf("common.%d", random.IntN(3))
			switch n := random.IntN(1000); {
			case n < 5:
				topic = fmt.Sprintf("rare.%d", n%2)
			case i/500%2 == 1 && n < 300:
				topic = fmt.Sprintf("phase.%d.x", n%4)
			}
			messages = append(messages, eventlog.Message{Topic: topic, Data: strings.Repeat("x", random.IntN(100))})
		}
		all := add(t, l, messages...)
		for range 60 {
			patterns := [][]string{{"**"}, {"rare.*"}, {"rare.1"}, {"phase.**"}, {"common.1"}, {"rare.0", "phase.*.x"}, {"*.1", "common.*"}}[random.IntN(7)]
			q := eventlog.Query{
				Filters: filters(t, patterns...), After: uint64(random.IntN(3000)),
				MaxRecords: 1 + random.IntN(200), MaxBytes: 1 + random.IntN(5000),
			}
			q.UpTo = q.After + uint64(random.IntN(3001-int(q.After)))
			want := selected(all[q.After:q.UpTo], q.Filters)
			what := fmt.Sprintf("%v %+v", patterns, q)
			var got []eventlog.Record
			for q.After < q.UpTo {
				b := readBatch(t, l, q)
				bytes := 0
				for i, r := range b.Records {
					if bytes >= q.MaxBytes {
						t.Fatalf("%s: record %d comes after %d bytes", what, i, bytes)
					}
					bytes += len(r.Data)
				}
				got = append(got, b.Records...)
				q.After = b.Through
			}
			same(t, what, got, want)
		}
	}},
	{"Read/through", "a batch has every matching record up to Through, which is more than After", func(t *testing.T, l eventlog.Log) {
		addTopics(t, l, "a", "b", "a", "b", "b", "b")
		q := eventlog.Query{Filters: filters(t, "a"), UpTo: 6, MaxRecords: 10, MaxBytes: 1000}
		if b := readBatch(t, l, q); b.Through != 6 || len(b.Records) != 2 {
			t.Errorf("all: %+v", b)
		}
		q.MaxRecords = 2
		if b := readBatch(t, l, q); b.Through < 3 || len(b.Records) != 2 {
			t.Errorf("two records: %+v", b)
		}
		q.MaxRecords = 1
		if b := readBatch(t, l, q); b.Through < 1 || b.Through > 2 || len(b.Records) != 1 {
			t.Errorf("one record: %+v", b)
		}
		q.UpTo = 2
		if b := readBatch(t, l, q); b.Through > 2 || len(b.Records) != 1 {
			t.Errorf("up to 2: %+v", b)
		}
		q.After = 3
		q.UpTo = 6
		if b := readBatch(t, l, q); b.Through != 6 || len(b.Records) != 0 {
			t.Errorf("after the last that matches: %+v", b)
		}
	}},
	{"Read/nothing", "if UpTo is not more than After, Through is After, and the batch is empty", func(t *testing.T, l eventlog.Log) {
		addTopics(t, l, "a", "a")
		for _, q := range []eventlog.Query{{After: 0, UpTo: 0}, {After: 2, UpTo: 2}, {After: 2, UpTo: 1}, {After: 50, UpTo: 50}} {
			q.Filters, q.MaxRecords, q.MaxBytes = filters(t, "**"), 1, 1
			b, err := l.Read(within(t), q)
			if err != nil || b.Through != q.After || len(b.Records) != 0 || b.Hole != 0 {
				t.Errorf("Read(%+v) = %+v, %v", q, b, err)
			}
		}
	}},
	{"Read/one", "with n-1 as After and n as UpTo, Read returns record n, or nothing if no filter matches it", func(t *testing.T, l eventlog.Log) {
		want := add(t, l, eventlog.Message{Topic: "a", Type: "t", Data: "more than a byte"}, eventlog.Message{Topic: "b", Data: ""}, eventlog.Message{Topic: "c", Data: "1"})
		for i, r := range want {
			same(t, "the record", []eventlog.Record{readOne(t, l, r.Seq)}, want[i:i+1])
			q := eventlog.Query{Filters: filters(t, "none", "a.*"), After: r.Seq - 1, UpTo: r.Seq, MaxRecords: 1, MaxBytes: 1}
			if b := readBatch(t, l, q); len(b.Records) != 0 || b.Hole != 0 {
				t.Errorf("Read(%+v) = %+v", q, b)
			}
		}
	}},
	{"Read/generation", "Read accepts the current generation, and 0 for it; with another one it returns ErrReopened", func(t *testing.T, l eventlog.Log) {
		want := addTopics(t, l, "a", "a")
		current := state(t, l).Generation
		for _, generation := range []uint64{0, current} {
			q := eventlog.Query{Filters: filters(t, "a"), UpTo: 2, Generation: generation, MaxRecords: 10, MaxBytes: 1000}
			same(t, fmt.Sprintf("generation %d", generation), readBatch(t, l, q).Records, want)
		}
		for _, generation := range []uint64{current + 1, current + 2, math.MaxUint64} {
			for _, upTo := range []uint64{0, 2} {
				q := eventlog.Query{Filters: filters(t, "a"), UpTo: upTo, Generation: generation, MaxRecords: 10, MaxBytes: 1000}
				if b, err := l.Read(within(t), q); !errors.Is(err, eventlog.ErrReopened) || len(b.Records) != 0 {
					t.Errorf("Read(%+v) = %+v, %v", q, b, err)
				}
			}
		}
	}},
	{"Read/bytes", "a batch has at least one matching record, and ends once the data of its records has MaxBytes", func(t *testing.T, l eventlog.Log) {
		big := strings.Repeat("x", 1000)
		add(t, l, eventlog.Message{Topic: "a", Data: big}, eventlog.Message{Topic: "a", Data: big}, eventlog.Message{Topic: "a", Data: big})
		for maxBytes, want := range map[int]int{1: 1, 1000: 1, 1001: 2, 2000: 2, 2001: 3, 9999: 3} {
			q := eventlog.Query{Filters: filters(t, "a"), UpTo: 3, MaxRecords: 10, MaxBytes: maxBytes}
			if b := readBatch(t, l, q); len(b.Records) != want {
				t.Errorf("%d bytes: %d records, want %d", maxBytes, len(b.Records), want)
			}
		}
	}},
}
