package natslog_test

import (
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// wantHole reads the records that a filter matches, and checks that exactly one hole, from
// first to last, is reported, with the reason.
func wantHole(t *testing.T, l eventlog.Log, pattern string, after, upTo, first, last uint64, reason string) {
	t.Helper()
	fs, err := topics.ParseFilters(pattern)
	if err != nil {
		t.Fatal(err)
	}
	gaps := 0
	for q := (eventlog.Query{Filters: fs, After: after, UpTo: upTo, MaxRecords: 100, MaxBytes: 1 << 20}); q.After < q.UpTo; {
		b, err := l.Read(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if b.Through <= q.After {
			t.Fatalf("%s: after %d the batch reaches through %d", pattern, q.After, b.Through)
		}
		if b.Hole != 0 {
			if gaps++; b.Reason != reason || q.After+1 != first || b.Hole != last {
				t.Errorf("%s: %d to %d are %s, want %d to %d, %s", pattern, q.After+1, b.Hole, b.Reason, first, last, reason)
			}
		}
		for _, r := range b.Records {
			if r.Seq >= first && r.Seq <= last {
				t.Errorf("%s: record %d is there", pattern, r.Seq)
			}
		}
		q.After = b.Through
	}
	if gaps != 1 {
		t.Errorf("%s: %d gaps", pattern, gaps)
	}
}
