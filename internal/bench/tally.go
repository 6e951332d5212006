package bench

import (
	"sync/atomic"
	"time"
)

// A tally counts what some of the subscribers receive. It may be used concurrently.
// It is fastest with one writer.
type tally struct {
	bytes      atomic.Int64 // of responses
	deliveries atomic.Int64 // messages received, each once by each subscriber
	settled    atomic.Int64 // messages received in order, and those skipped
	skipped    atomic.Int64 // messages skipped, and not received since
	outOfOrder atomic.Int64
	repeated   atomic.Int64
	foreign    atomic.Int64
	garbled    atomic.Int64
	gaps       atomic.Int64
	opened     atomic.Int64
	failed     atomic.Int64
	closed     atomic.Int64
	lastOpen   atomic.Int64 // when, in ns since the run began
	last       atomic.Int64 // the time of the last delivery
	latency    histogram
	firstEvent histogram
	_          [64]byte // puts the next tally's counters on another cache line
}

// A total is the sum of tallies at one moment, without their histograms.
type total struct {
	bytes, deliveries, settled, skipped          int64
	outOfOrder, repeated, foreign, garbled, gaps int64
	opened, failed, closed                       int64
	lastOpen, last                               time.Duration
}

func sum(tallies []tally) (s total) {
	for i := range tallies {
		t := &tallies[i]
		s.bytes += t.bytes.Load()
		s.deliveries += t.deliveries.Load()
		s.settled += t.settled.Load()
		s.skipped += t.skipped.Load()
		s.outOfOrder += t.outOfOrder.Load()
		s.repeated += t.repeated.Load()
		s.foreign += t.foreign.Load()
		s.garbled += t.garbled.Load()
		s.gaps += t.gaps.Load()
		s.opened += t.opened.Load()
		s.failed += t.failed.Load()
		s.closed += t.closed.Load()
		s.lastOpen = max(s.lastOpen, time.Duration(t.lastOpen.Load()))
		s.last = max(s.last, time.Duration(t.last.Load()))
	}
	return s
}
