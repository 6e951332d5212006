package stream

import "iter"

// Filter returns the values of seq for which keep is true. Errors and gaps are
// passed on without asking keep.
//
// Ranged again, it ranges seq again. When the consumer stops, seq is stopped.
func Filter[T any](seq iter.Seq2[T, error], keep func(T) bool) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for v, err := range seq {
			if err != nil {
				if !pass(yield, err) {
					return
				}
				continue
			}
			if keep(v) && !yield(v, nil) {
				return
			}
		}
	}
}

// FilterMap is Filter and Map in one: for each value of seq, f returns what to
// yield in its place, and whether to yield it. An error of f, whatever it
// returns beside it, counts as an error of seq in the place of the value: it
// ends the sequence, unless it is a *sse.GapError. Errors and gaps of seq are
// passed on without f.
//
// Ranged again, it ranges seq again. When the consumer stops, seq is stopped.
func FilterMap[T, U any](seq iter.Seq2[T, error], f func(T) (u U, keep bool, err error)) iter.Seq2[U, error] {
	return func(yield func(U, error) bool) {
		for v, err := range seq {
			var u U
			var keep bool
			if err == nil {
				u, keep, err = f(v)
			}
			if err != nil {
				if !pass(yield, err) {
					return
				}
				continue
			}
			if keep && !yield(u, nil) {
				return
			}
		}
	}
}
