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

// gcPercent returns the value of GOGC for a heap.
func gcPercent(live uint64) int {
	if live > largeHeap {
		return largePercent
	}
	return usualPercent
}

// tuneGC sets GOGC by the size of the heap until ctx is done, unless the environment sets it.
func tuneGC(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	ticker := time.NewTicker(gcInterval)
	defer ticker.Stop()
	for now := usualPercent; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		metrics.Read(sample)
		if p := gcPercent(sample[0].Value.Uint64()); p != now {
			debug.SetGCPercent(p)
			now = p
		}
	}
}
