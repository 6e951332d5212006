package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// With a small heap, collecting seldom costs little memory and saves time. With a large one, as slow
// clients make it, the process would take twice of what it holds.
const (
	smallHeap    = 16 << 20 // bytes that are live
	largeHeap    = 64 << 20
	usualPercent = 100
	busyPercent  = 250
	largePercent = 50
	gcInterval   = 100 * time.Millisecond
	oftenGC      = 3 // collections within gcInterval
)

// gcPercent returns the value of GOGC for a heap, which has another one now, and had so many
// collections within gcInterval. While many connections come, the server sets one of its own, which
// stays as long as the heap is small.
func gcPercent(live, now, collections uint64) int {
	switch {
	case live > largeHeap:
		return largePercent
	case now == usualPercent && live <= smallHeap && collections >= oftenGC:
		return busyPercent
	case now == largePercent, now == busyPercent && (live > smallHeap || collections == 0):
		return usualPercent
	}
	return int(now)
}

// tuneGC sets GOGC by the size of the heap until ctx is done, unless the environment sets it.
func tuneGC(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/gogc:percent"}, {Name: "/gc/cycles/automatic:gc-cycles"}}
	before := uint64(0)
	ticker := time.NewTicker(gcInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		metrics.Read(samples)
		now := samples[1].Value.Uint64()
		all := samples[2].Value.Uint64()
		if p := gcPercent(samples[0].Value.Uint64(), now, all-before); p != int(now) {
			debug.SetGCPercent(p)
		}
		before = all
	}
}
