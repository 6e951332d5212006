package logtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/tidings/eventlog"
)

// newest gets everything that Newest has to return, in pieces, and checks each piece.
func newest(t *testing.T, l eventlog.Log, patterns string, after, upTo uint64, limit int) []uint64 {
	t.Helper()
	var all []uint64
	for after < upTo {
		seqs, through, err := l.Newest(within(t), filters(t, strings.Fields(patterns)...), after, upTo, limit)
		what := fmt.Sprintf("Newest(%s, %d, %d, %d)", patterns, after, upTo, limit)
		switch {
		case err != nil:
			t.Fatalf("%s: %v", what, err)
		case through <= after || through > upTo:
			t.Fatalf("%s reaches through %d", what, through)
		case len(seqs) > limit:
			t.Fatalf("%s returns %d", what, len(seqs))
		}
		for _, seq := range seqs {
			if seq <= after || seq > through {
				t.Fatalf("%s returns %d after %d, through %d", what, seq, after, through)
			}
			after = seq
		}
		all = append(all, seqs...)
		after = through
	}
	return all
}

// newestAmong returns the numbers that Newest has to return in a log of the given records.
func newestAmong(t *testing.T, records []eventlog.Record, patterns string, after, upTo uint64) []uint64 {
	last := map[string]uint64{}
	for _, r := range records {
		last[r.Topic] = r.Seq
	}
	var want []uint64
	for _, r := range selected(records, filters(t, strings.Fields(patterns)...)) {
		if r.Seq == last[r.Topic] && r.Seq > after && r.Seq <= upTo {
			want = append(want, r.Seq)
		}
	}
	return want
}

var newestCases = []logCase{
	{"Newest", "Newest returns the newest record of each topic that one of the filters matches, in ascending order", func(t *testing.T, l eventlog.Log) {
		addTopics(t, l, "a", "b", "a", "c.d", "b", "c.e", "c.d")
		for patterns, want := range map[string][]uint64{
			"**": {3, 5, 6, 7}, "a": {3}, "c.*": {6, 7}, "*": {3, 5}, "x": nil, "c.* c.**": {6, 7}, "b c.e": {5, 6}, "*.d c.*": {6, 7},
		} {
			if got := newest(t, l, patterns, 0, 7, 100); !slices.Equal(got, want) {
				t.Errorf("Newest(%s) has %v, want %v", patterns, got, want)
			}
		}
	}},
	{"Newest/pieces", "Newest returns records after one number and up to another, at most limit at a time; a topic whose newest record is later has none", func(t *testing.T, l eventlog.Log) {
		records := addTopics(t, l, "a", "b", "a", "c.d", "b", "c.e", "c.d", "a", "f", "c.f", "f")
		for _, patterns := range []string{"**", "a", "*", "c.*", "a c.**", "a b", "x"} {
			for after := range uint64(len(records)) {
				for upTo := after; upTo <= uint64(len(records)); upTo++ {
					want := newestAmong(t, records, patterns, after, upTo)
					for _, limit := range []int{1, 2, 100} {
						if got := newest(t, l, patterns, after, upTo, limit); !slices.Equal(got, want) {
							t.Errorf("Newest(%s) after %d up to %d, %d at a time, has %v, want %v", patterns, after, upTo, limit, got, want)
						}
					}
				}
			}
		}
	}},
	{"Newest/nothing", "if upTo is not more than after, through is after, and there are no numbers", func(t *testing.T, l eventlog.Log) {
		for range 2 {
			for _, upTo := range []uint64{0, 1, 2} {
				seqs, through, err := l.Newest(within(t), filters(t, "**"), 2, upTo, 10)
				if err != nil || len(seqs) > 0 || through != 2 {
					t.Errorf("Newest after 2 up to %d: %v, %d, %v", upTo, seqs, through, err)
				}
			}
			addTopics(t, l, "a", "b", "c")
		}
	}},
	{"Newest/many topics", "a caller gets them all in pieces, however many topics there are", func(t *testing.T, l eventlog.Log) {
		messages := make([]eventlog.Message, 5000)
		for i := range messages {
			messages[i].Topic = fmt.Sprintf("t.%d.%d", i%10, i)
		}
		records := add(t, l, messages...)
		records = append(records, addTopics(t, l, "t.0.0", "u", "t.1.2501", "t.0.10", "u")...)
		last := uint64(len(records))
		for _, row := range []struct {
			patterns    string
			after, upTo uint64
		}{
			{"**", 0, last}, {"**", 1000, 4500}, {"**", last - 3, last}, {"t.**", 0, last - 2},
			{"t.1.*", 0, last}, {"t.*.10 u", 0, last}, {"t.0.0", 0, last}, {"t.0.0 t.1.2501 u x", 0, last}, {"x.*", 0, last},
		} {
			want := newestAmong(t, records, row.patterns, row.after, row.upTo)
			if got := newest(t, l, row.patterns, row.after, row.upTo, 256); !slices.Equal(got, want) {
				t.Errorf("Newest(%s) after %d up to %d has %d: %v, want %d: %v", row.patterns, row.after, row.upTo, len(got), got, len(want), want)
			}
		}
		if got, want := newest(t, l, "**", last-700, last, 1), newestAmong(t, records, "**", last-700, last); !slices.Equal(got, want) {
			t.Errorf("one at a time there are %d, want %d", len(got), len(want))
		}
	}},
	{"Newest/done", "if the context is done, Newest returns its error", func(t *testing.T, l eventlog.Log) {
		addTopics(t, l, "a", "b")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if seqs, _, err := l.Newest(ctx, filters(t, "**"), 0, 2, 10); !errors.Is(err, context.Canceled) {
			t.Errorf("Newest: %v, %v", seqs, err)
		}
	}},
}
