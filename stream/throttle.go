package stream

import (
	"context"
	"iter"
	"time"
)

// Throttle returns the values of seq with at least d between one and the next,
// measured from the moment at which each is yielded. It does not delay the
// first value, or a value that comes later than d after the one before. There
// is no delay after the last value. If d is not positive, there is no delay at
// all.
//
// Throttle never delays errors and gaps, and they do not delay the value after
// them.
//
// The sequence ends when ctx is done, and drops a value that is waiting then.
// While a value waits, Throttle does not ask seq for the next one, so it
// buffers nothing and drops nothing else.
//
// Ranged again, it ranges seq again, and the first value is not delayed. When
// the consumer stops, seq is stopped.
func Throttle[T any](ctx context.Context, seq iter.Seq2[T, error], d time.Duration) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if ctx.Err() != nil {
			return
		}
		var next time.Time // when the next value may pass; the zero time is long ago
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
