package stream_test

import (
	"iter"
	"slices"
	"testing"

	"example.com/tidings/stream"
)

func TestConcat(t *testing.T) {
	tests := []struct {
		rule   string
		steps  [][]step
		want   []string
		ranged []int // how often each source is ranged
	}{
		{"no sequence is the empty sequence", nil, nil, nil},
		{"one after the other", [][]step{{1, 2}, {}, {3}}, []string{"1", "2", "3"}, []int{1, 1, 1}},
		{"a gap does not end one", [][]step{{1, gap, 2}, {gap}, {3}}, []string{"1", "gap", "2", "gap", "3"}, []int{1, 1, 1}},
		{"an error ends all", [][]step{{1}, {errBoom, 2}, {3}}, []string{"1", "boom"}, []int{1, 1, 0}},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			var sources []*source
			var seqs []iter.Seq2[int, error]
			for _, steps := range test.steps {
				s := newSource(steps...)
				sources = append(sources, s)
				seqs = append(seqs, s.seq())
			}
			if got := trace(t, stream.Concat(seqs...)); !slices.Equal(got, test.want) {
				t.Errorf("yielded %q, want %q", got, test.want)
			}
			for i, s := range sources {
				s.check(t, test.ranged[i], test.ranged[i])
			}
		})
	}
}

// Concat ranges a sequence only after the one before has ended. When the
// consumer stops in one sequence, the sequences after it are not ranged.
func TestConcatRangesOneAtATime(t *testing.T) {
	first, second, third := newSource(1), newSource(2), newSource(3)
	for v := range stream.Concat(first.seq(), second.seq(), third.seq()) {
		switch v {
		case 1:
			first.check(t, 1, 0)
			second.check(t, 0, 0)
		case 2:
			first.check(t, 1, 1)
			second.check(t, 1, 0)
		}
		if v == 2 {
			break
		}
	}
	second.check(t, 1, 1)
	third.check(t, 0, 0)
}
