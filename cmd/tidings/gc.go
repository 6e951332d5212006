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
	largeHeap    = 64 << 20 // bytes that are live
	usualPercent = 100
	largePercent = 50
	gcInterval   = 100 * time.Millisecond
)

// gcPercent returns the value of GOGC for a heap, which has another one now. While many
// connections come, the server sets one of its own, which stays as long as the heap is small.
func gcPercent(live, now uint64) int {
	switch {
	case live > largeHeap:
		return largePercent
	case now == largePercent:
		return usualPercent
	}
	return int(now)
}

// tuneGC sets GOGC by the size of the heap until ctx is done, unless the environment sets it.
func tuneGC(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/gogc:percent"}}
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
		if p := gcPercent(samples[0].Value.Uint64(), now); p != int(now) {
			debug.SetGCPercent(p)
		}
	}
}
