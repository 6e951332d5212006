//go:build linux

package measure_test

import (
	"testing"

	"example.com/tidings/bench/internal/measure"
)

// descending returns n latencies, from n ms down to 1 ms.
func descending(n int) []int64 {
	latencies := make([]int64, n)
	for i := range latencies {
		latencies[i] = int64(n-i) * 1e6
	}
	return latencies
}

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		rule      string
		latencies []int64
		want      measure.Spread
	}{
		{"none", nil, measure.Spread{}},
		{"one is all of them", []int64{1_500_000}, measure.Spread{Count: 1, P50: 1.5, P90: 1.5, P99: 1.5, P999: 1.5, Max: 1.5}},
		{"1 to 100 ms", descending(100), measure.Spread{Count: 100, P50: 50, P90: 90, P99: 99, P999: 100, Max: 100}},
		{"1 to 1,000 ms", descending(1000), measure.Spread{Count: 1000, P50: 500, P90: 900, P99: 990, P999: 999, Max: 1000}},
		{"1 to 1,001 ms", descending(1001), measure.Spread{Count: 1001, P50: 501, P90: 901, P99: 991, P999: 1000, Max: 1001}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if got := measure.NewSpread(tt.latencies); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
