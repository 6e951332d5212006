package stream_test

import (
	"context"
	"iter"
	"testing"

	"example.com/tidings/stream"
)

// One iteration ranges a sequence of 1,000 values. ns/value is the cost of one
// value.

const benchValues = 1000

func BenchmarkRange(b *testing.B) {
	for _, test := range perValue {
		b.Run(test.name, func(b *testing.B) { benchmark(b, test.over(benchValues)) })
	}
	b.Run("Throttle without delay", func(b *testing.B) {
		benchmark(b, drain(stream.Throttle(b.Context(), numbers(benchValues), 0)))
	})
}

func BenchmarkReceive(b *testing.B) {
	ch := make(chan int, benchValues)
	seq := stream.Take(stream.Receive(b.Context(), ch), benchValues)
	benchmark(b, func() {
		for i := range benchValues {
			ch <- i
		}
		drain(seq)()
	})
}

func BenchmarkMerge(b *testing.B) {
	half := func(context.Context) iter.Seq2[int, error] { return numbers(benchValues / 2) }
	benchmark(b, drain(stream.Merge(b.Context(), half, half)))
}

func benchmark(b *testing.B, f func()) {
	b.ReportAllocs()
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchValues, "ns/value")
}
