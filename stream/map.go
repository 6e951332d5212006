package stream

import "iter"

// Map returns the sequence of f(v) for each value v of seq. An error of f
// counts as an error of seq in the place of v: it ends the sequence, unless it
// is a *sse.GapError. Map passes errors and gaps of seq on without calling f.
//
// With [sse.JSON] as the last step of f, Map turns values into events.
//
// Ranged again, it ranges seq again. When the consumer stops, seq is stopped.
func Map[T, U any](seq iter.Seq2[T, error], f func(T) (U, error)) iter.Seq2[U, error] {
	return func(yield func(U, error) bool) {
		for v, err := range seq {
			var u U
			if err == nil {
				u, err = f(v)
			}
			if err != nil {
				if !pass(yield, err) {
					return
				}
				continue
			}
			if !yield(u, nil) {
				return
			}
		}
	}
}
