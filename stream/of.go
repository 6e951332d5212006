package stream

import "iter"

// Of returns a sequence of the items, in order and without an error.
//
// Ranged again, it yields them again. A slice given as items... is not copied.
func Of[T any](items ...T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range items {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// Infallible returns the values of seq as a sequence without an error.
//
// Ranged again, it ranges seq again. When the consumer stops, seq is stopped.
func Infallible[T any](seq iter.Seq[T]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for v := range seq {
			if !yield(v, nil) {
				return
			}
		}
	}
}
