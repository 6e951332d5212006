package stream

import (
	"context"
	"iter"
)

// Receive returns the values that are received from ch, until ch is closed or
// ctx is done. A nil channel gives none, until ctx is done.
//
// A value that has been taken from ch is always yielded, even if ctx is done by
// then; after that, none is taken.
//
// Ranged again, it goes on with what ch holds then. Two that range at the same
// time share the values between them. When the consumer stops, the values that
// it has not seen stay in ch, and whoever sends on ch learns nothing of it.
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
