package bench_test

import (
	"testing"

	"example.com/tidings/internal/bench"
)

func TestLedger(t *testing.T) {
	type entry struct {
		seq     uint64
		verdict string
		skipped uint64
	}
	for _, tt := range []struct {
		name    string
		entries []entry
		got     uint64
	}{
		{"all in order", []entry{{0, "in order", 0}, {1, "in order", 0}, {2, "in order", 0}}, 3},
		{"the first is missing", []entry{{1, "ahead", 1}, {2, "in order", 0}}, 2},
		{"some are missing", []entry{{0, "in order", 0}, {5, "ahead", 4}}, 2},
		{"repeated", []entry{{0, "in order", 0}, {0, "repeated", 0}}, 1},
		{"an older one repeated", []entry{{0, "in order", 0}, {1, "in order", 0}, {0, "repeated", 0}}, 2},
		{"two change places", []entry{{1, "ahead", 1}, {0, "out of order", 0}, {2, "in order", 0}}, 3},
		{"late, and repeated", []entry{{1, "ahead", 1}, {0, "out of order", 0}, {0, "repeated", 0}}, 2},
		{"from the middle of a hole", []entry{{5, "ahead", 5}, {2, "out of order", 0}, {2, "repeated", 0}, {1, "out of order", 0}, {3, "out of order", 0}, {0, "out of order", 0}, {4, "out of order", 0}, {6, "in order", 0}}, 7},
		{"backwards", []entry{{3, "ahead", 3}, {2, "out of order", 0}, {1, "out of order", 0}, {0, "out of order", 0}}, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l bench.Ledger
			for _, e := range tt.entries {
				if v, skipped := l.Receive(e.seq); v != e.verdict || skipped != e.skipped {
					t.Errorf("%d is %s, %d skipped; want %s, %d", e.seq, v, skipped, e.verdict, e.skipped)
				}
			}
			if l.Got() != tt.got {
				t.Errorf("has %d, want %d", l.Got(), tt.got)
			}
		})
	}
}

// A ledger gives the same results as a set of numbers.
func FuzzLedger(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3})
	f.Add([]byte{9, 4, 4, 5, 0, 10, 9})
	f.Fuzz(func(t *testing.T, seqs []byte) {
		var l bench.Ledger
		has, next := map[uint64]bool{}, uint64(0)
		for _, c := range seqs {
			seq := uint64(c)
			want, skip := "in order", uint64(0)
			switch {
			case has[seq]:
				want = "repeated"
			case seq < next:
				want = "out of order"
			case seq > next:
				want, skip = "ahead", seq-next
			}
			if v, skipped := l.Receive(seq); v != want || skipped != skip {
				t.Fatalf("%v: %d is %s, %d skipped; want %s, %d", seqs, seq, v, skipped, want, skip)
			}
			has[seq] = true
			next = max(next, seq+1)
		}
		if l.Got() != uint64(len(has)) {
			t.Errorf("%v: has %d, want %d", seqs, l.Got(), len(has))
		}
		for seq := range uint64(256) {
			if l.Has(seq) != has[seq] {
				t.Errorf("%v: has %d: %v", seqs, seq, l.Has(seq))
			}
		}
	})
}

// With any number of holes, memory is bounded and the count of received messages is
// right.
func TestLedgerIsBounded(t *testing.T) {
	var l bench.Ledger
	const n = 10 * bench.MaxHoles
	for i := range uint64(n) {
		l.Receive(2*i + 1)
	}
	if l.Holes() > bench.MaxHoles || l.Got() != n {
		t.Errorf("%d holes, %d received; want at most %d, and %d", l.Holes(), l.Got(), bench.MaxHoles, n)
	}
	if v, _ := l.Receive(2 * (n - 1)); v != "out of order" {
		t.Errorf("a message in one of the last holes is %s", v)
	}
	l = bench.Ledger{}
	l.Receive(3 * n)
	for i := range uint64(n) { // cuts the hole into n holes
		l.Receive(3*i + 1)
	}
	if l.Holes() > bench.MaxHoles {
		t.Errorf("%d holes", l.Holes())
	}
}
