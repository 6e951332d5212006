//go:build linux

package main_test

import (
	"os"
	"testing"
	"time"

	main "example.com/tidings/bench/load"
)

func TestSpread(t *testing.T) {
	hundred := make([]int64, 100)
	for i := range hundred {
		hundred[i] = int64(100-i) * 1e6
	}
	for _, tt := range []struct {
		rule      string
		latencies []int64
		want      main.Spread
	}{
		{"none", nil, main.Spread{}},
		{"one is all of them", []int64{1_500_000}, main.Spread{Count: 1, P50: 1.5, P90: 1.5, P99: 1.5, Max: 1.5}},
		{"1 to 100 ms", hundred, main.Spread{Count: 100, P50: 50, P90: 90, P99: 99, Max: 100}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if got := main.NewSpread(tt.latencies); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestProcessTimeGrowsWithWork(t *testing.T) {
	before, err := main.ProcessTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for patience := time.Now().Add(10 * time.Second); ; {
		now, err := main.ProcessTime(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if now > before {
			return
		}
		if time.Now().After(patience) {
			t.Fatalf("after 10 s of work it is still %v", now)
		}
	}
}
