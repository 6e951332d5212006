package stream_test

import (
	"iter"
	"testing"

	"example.com/tidings/stream"
)

// numbers returns the sequence of the integers below n. numbers and drain are
// not inlined: otherwise the compiler could optimize a whole chain, which it
// cannot do in a real program.
//
//go:noinline
func numbers(n int) iter.Seq2[int, error] {
	return stream.Infallible(func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	})
}

// perValue lists the functions whose only cost is a call or two for each value.
// over returns a function that ranges a sequence of n values.
var perValue = []struct {
	name string
	over func(n int) func()
}{
	{"Of", func(n int) func() { return drain(stream.Of(make([]int, n)...)) }},
	{"Infallible", func(n int) func() { return drain(numbers(n)) }},
	{"Map", func(n int) func() {
		return drain(stream.Map(numbers(n), func(v int) (int64, error) { return int64(v), nil }))
	}},
	{"Filter", func(n int) func() {
		return drain(stream.Filter(numbers(n), func(v int) bool { return v%2 == 0 }))
	}},
	{"FilterMap", func(n int) func() {
		return drain(stream.FilterMap(numbers(n), func(v int) (int64, bool, error) { return int64(v), v%2 == 0, nil }))
	}},
	{"Enumerate", func(n int) func() { return drain(stream.Enumerate(numbers(n))) }},
	{"Take", func(n int) func() { return drain(stream.Take(numbers(n+1), n)) }},
	{"Concat", func(n int) func() { return drain(stream.Concat(numbers(n/2), numbers(n-n/2))) }},
}

// drain returns a function that ranges seq to its end.
//
//go:noinline
func drain[T any](seq iter.Seq2[T, error]) func() {
	return func() {
		for range seq {
		}
	}
}

// A range allocates no more for many values than for few.
func TestNoAllocationPerValue(t *testing.T) {
	for _, test := range perValue {
		t.Run(test.name, func(t *testing.T) {
			few := testing.AllocsPerRun(10, test.over(10))
			many := testing.AllocsPerRun(10, test.over(10_000))
			if many > few {
				t.Errorf("%v allocations for 10 values, %v for 10,000", few, many)
			}
		})
	}
}
