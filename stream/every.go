package stream

import (
	"context"
	"iter"
	"time"
)

// Every returns a sequence that yields the current time at once and then every
// d, until ctx is done. Every panics if d is not positive, as [time.NewTicker]
// does. It panics when it is called, not when the sequence is ranged.
//
// The first tick sets the schedule: all other ticks fall on whole multiples of
// d after it, whatever the consumer does. A tick that falls due while the
// consumer is busy is dropped. For example, a consumer that takes 2.5 d for the
// first tick gets the next one 3 d after the first, and then one every d.
//
// Ranged again, it begins a new schedule. Between two ticks only a timer runs.
// It is stopped when the sequence ends.
func Every(ctx context.Context, d time.Duration) iter.Seq2[time.Time, error] {
	if d <= 0 {
		panic("stream: non-positive interval for Every")
	}
	return func(yield func(time.Time, error) bool) {
		start := time.Now()
		tick := time.Duration(0) // the next one is due at start + tick*d
		for {
			if Sleep(ctx, time.Until(start.Add(tick*d))) != nil {
				return
			}
			if !yield(time.Now(), nil) {
				return
			}
			elapsed := time.Since(start)
			next := elapsed / d
			if elapsed%d > 0 {
				next++
			}
			// If the consumer took no time, next is the current tick.
			tick = max(next, tick+1)
		}
	}
}
