package stream

import (
	"context"
	"iter"
	"time"
)

// Throttle returns the values of seq with at least d between one and the next,
// measured from the moment at which each is yielded. The first passes at once,
// and so does one that comes later than d after the one before. There is no
// delay after the last. If d is not positive there is no delay at all.
//
// Errors and gaps are never delayed, and do not delay the value after them.
//
// It ends when ctx is done; a value that is waiting then is dropped. While a
// value waits, seq is not asked for the next: nothing is buffered, and nothing
// else is dropped.
//
// Ranged again, it ranges seq again, the first value passing at once. When the
// consumer stops, seq is stopped.
func Throttle[T any](ctx context.Context, seq iter.Seq2[T, error], d time.Duration) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if ctx.Err() != nil {
			return
		}
		var next time.Time // when the next value may pass; at first, long ago
		for v, err := range seq {
			if err != nil {
				if ctx.Err() != nil || !pass(yield, err) {
					return
				}
				continue
			}
			if Sleep(ctx, time.Until(next)) != nil {
				return
			}
			next = time.Now().Add(d)
			if !yield(v, nil) {
				return
			}
		}
	}
}
