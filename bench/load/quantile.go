//go:build linux

package main

import (
	"math"
	"slices"
)

// A spread describes the distribution of latencies, in milliseconds.
type spread struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

// newSpread sorts latencies, in nanoseconds, and returns their spread. Quantile q
// is the smallest latency that at least the share q of them does not exceed.
func newSpread(latencies []int64) spread {
	if len(latencies) == 0 {
		return spread{}
	}
	slices.Sort(latencies)
	at := func(q float64) float64 {
		i := int(math.Ceil(q*float64(len(latencies)))) - 1
		return milliseconds(latencies[max(i, 0)])
	}
	return spread{len(latencies), at(.5), at(.9), at(.99), at(1)}
}

// milliseconds converts nanoseconds, to three decimals.
func milliseconds(ns int64) float64 { return math.Round(float64(ns)/1e3) / 1e3 }
