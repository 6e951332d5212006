package stream

import "iter"

// Filter returns the values of seq for which keep returns true. It passes
// errors and gaps on without calling keep.
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

// FilterMap is Filter and Map in one. For each value of seq, f returns the
// value to yield in its place, and whether to yield it. An error of f, whatever
// its other results, counts as an error of seq in the place of the value: it
// ends the sequence, unless it is a *sse.GapError. FilterMap passes errors and
// gaps of seq on without calling f.
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
