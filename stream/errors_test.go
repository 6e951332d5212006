package stream_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/tidings/stream"
)

// The rules in the section "Errors" of the package's documentation, for every
// function that takes a sequence.
func TestErrorsOfASource(t *testing.T) {
	tests := []struct {
		rule  string
		steps []step
		want  string
		asked int // the number of steps that the source is asked for
	}{
		{"an error ends the sequence, whatever the consumer and the source would do",
			[]step{1, errBoom, 2, errBoom}, "1, boom", 2},
		{"an error may come first", []step{errBoom, 1}, "boom", 1},
		{"a gap is passed on in its place and the sequence goes on",
			[]step{1, gap, 2}, "1, gap, 2", 3},
		{"a wrapped gap is a gap, and stays wrapped",
			[]step{1, errWrappedGap, 2}, "1, wrapped gap, 2", 3},
		{"gaps may come first, in a row and last",
			[]step{gap, gap, 1, gap}, "gap, gap, 1, gap", 4},
		{"after a gap an error still ends the sequence",
			[]step{gap, 1, errBoom, 2}, "gap, 1, boom", 3},
	}
	for _, op := range operators {
		t.Run(op.name, func(t *testing.T) {
			for _, test := range tests {
				t.Run(test.rule, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						source := newSource(test.steps...)
						got := strings.Join(trace(t, op.over(t.Context(), source.seq())), ", ")
						if got != test.want {
							t.Errorf("yielded %s, want %s", got, test.want)
						}
						if source.asked != test.asked {
							t.Errorf("the source was asked for %d steps, want %d", source.asked, test.asked)
						}
						source.check(t, 1, 1)
					})
				})
			}
		})
	}
}

// A consumer may stop at a gap, just as at a value.
func TestConsumerStopsAtAGap(t *testing.T) {
	for _, op := range operators {
		t.Run(op.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := newSource(gap, 1, 2)
				for _, err := range op.over(t.Context(), source.seq()) {
					if err != error(gap) {
						t.Errorf("first yielded %v, want the gap", err)
					}
					break
				}
				source.check(t, 1, 1)
			})
		})
	}
}

// An error of the function that Map and FilterMap apply counts as an error of
// the source.
func TestErrorsOfAFunction(t *testing.T) {
	tests := []struct {
		rule string
		err  error // of the function, for the value 2
		want []string
	}{
		{"an error ends the sequence", errBoom, []string{"1", "boom"}},
		{"a gap takes the value's place and the sequence goes on", gap, []string{"1", "gap", "3"}},
		{"a wrapped gap does too", errWrappedGap, []string{"1", "wrapped gap", "3"}},
	}
	for _, test := range tests {
		f := func(v int) (int, error) {
			if v == 2 {
				return 2, test.err
			}
			return v, nil
		}
		t.Run("Map: "+test.rule, func(t *testing.T) {
			source := newSource(1, 2, 3)
			if got := trace(t, stream.Map(source.seq(), f)); !slices.Equal(got, test.want) {
				t.Errorf("yielded %q, want %q", got, test.want)
			}
			source.check(t, 1, 1)
		})
		for _, keep := range []bool{true, false} {
			t.Run("FilterMap: "+test.rule, func(t *testing.T) {
				source := newSource(1, 2, 3)
				got := trace(t, stream.FilterMap(source.seq(), func(v int) (int, bool, error) {
					u, err := f(v)
					return u, err == nil || keep, err
				}))
				if !slices.Equal(got, test.want) {
					t.Errorf("keep %v: yielded %q, want %q", keep, got, test.want)
				}
				source.check(t, 1, 1)
			})
		}
	}
}

// The functions that are applied to values never get the value beside an error.
func TestErrorsAreNotGivenToFunctions(t *testing.T) {
	seen := func(v int) {
		if v < 0 {
			t.Errorf("a function was given the value beside an error")
		}
	}
	seq := newSource(1, gap, 2, errBoom).seq()
	trace(t, stream.Map(seq, func(v int) (int, error) { seen(v); return v, nil }))
	trace(t, stream.Filter(seq, func(v int) bool { seen(v); return true }))
	trace(t, stream.FilterMap(seq, func(v int) (int, bool, error) { seen(v); return v, true, nil }))
}
