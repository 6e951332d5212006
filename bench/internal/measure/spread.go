//go:build linux

// Package measure has what the load generators share: the distribution of
// latencies, and what a server uses of its machine, from /proc.
package measure

import (
	"math"
	"slices"
)

// A Spread describes the distribution of latencies, in milliseconds.
type Spread struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

// NewSpread sorts latencies, in nanoseconds, and returns their spread. Quantile q
// is the smallest latency that at least the share q of them does not exceed.
func NewSpread(latencies []int64) Spread {
	if len(latencies) == 0 {
		return Spread{}
	}
	slices.Sort(latencies)
	at := func(thousandths int) float64 {
		i := (thousandths*len(latencies)+999)/1000 - 1
		return Milliseconds(latencies[max(i, 0)])
	}
	return Spread{len(latencies), at(500), at(900), at(990), at(999), at(1000)}
}

// Milliseconds converts nanoseconds, to three decimals.
func Milliseconds(ns int64) float64 { return math.Round(float64(ns)/1e3) / 1e3 }
