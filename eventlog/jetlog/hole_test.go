package jetlog_test

import (
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// wantHole reads the records that a filter matches, and checks that exactly one gap, from
// first to last, is reported as lost.
func wantHole(t *testing.T, l eventlog.Log, pattern string, after, upTo, first, last uint64) {
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
		if b.Lost != 0 {
			if gaps++; b.Expired || q.After+1 != first || b.Lost != last {
				t.Errorf("%s: lost is %d to %d (expired: %v), want %d to %d", pattern, q.After+1, b.Lost, b.Expired, first, last)
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
