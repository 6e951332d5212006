package stream

import (
	"context"
	"iter"
)

// Receive returns the values received from ch, until ch is closed or ctx is
// done. With a nil channel, it yields nothing and ends when ctx is done.
//
// Receive yields every value that it has taken from ch, even if ctx is done by
// then. After that, it takes no more values.
//
// Ranged again, it goes on with the values that ch holds then. Two goroutines
// that range at the same time share the values between them. When the consumer
// stops, the values that it has not seen stay in ch, and the sender is not
// told.
func Receive[T any](ctx context.Context, ch <-chan T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for ctx.Err() == nil {
			select {
			case v, ok := <-ch:
				if !ok || !yield(v, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}
