package bench_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"example.com/tidings/internal/bench"
)

// A quantile is exact or less than 1.6 % too high.
func TestQuantiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, tt := range []struct {
		name string
		draw func(i int) time.Duration
		n    int
	}{
		{"one", func(int) time.Duration { return 12345 }, 1},
		{"two", func(i int) time.Duration { return time.Duration(1 + i*1000) }, 2},
		{"small ones", func(i int) time.Duration { return time.Duration(i % 64) }, 1000},
		{"a uniform range", func(int) time.Duration { return time.Duration(rng.Int64N(int64(time.Second))) }, 10_000},
		{"all magnitudes", func(int) time.Duration { return time.Duration(math.Exp(rng.Float64() * 27)) }, 10_000},
		{"many short and few long", func(i int) time.Duration {
			if i%100 == 0 {
				return time.Second
			}
			return time.Millisecond
		}, 10_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var a, b, h bench.Histogram
			var all []time.Duration
			for i := range tt.n {
				d := tt.draw(i)
				all = append(all, d)
				[]*bench.Histogram{&a, &b}[i%2].Add(d)
			}
			h.Merge(&a)
			h.Merge(&b)
			slices.Sort(all)
			for _, q := range []float64{0, 0.001, 0.5, 0.9, 0.99, 0.999, 1} {
				want := all[max(int(math.Ceil(q*float64(len(all)))), 1)-1]
				got := h.Quantile(q)
				if got < want || float64(got) > float64(want)*1.016+1 {
					t.Errorf("quantile %v is %d, want %d", q, got, want)
				}
			}
			if got := h.Quantile(1); got != all[len(all)-1] {
				t.Errorf("the greatest is %d, want exactly %d", got, all[len(all)-1])
			}
		})
	}
}

func TestQuantileBounds(t *testing.T) {
	var h bench.Histogram
	if got := h.Quantile(0.5); got != 0 {
		t.Errorf("without durations: %d", got)
	}
	h.Add(-time.Second)
	if got := h.Quantile(1); got != 0 {
		t.Errorf("with a negative duration: %d", got)
	}
	h.Add(math.MaxInt64)
	if got := h.Quantile(1); got != math.MaxInt64 {
		t.Errorf("with the greatest duration: %d", got)
	}
}
