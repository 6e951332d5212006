package stream

import "iter"

// Take returns the first n values of seq. After the nth it stops seq without
// asking for another, so that it does not wait for a value that nobody will
// see. If n is not positive it is empty and never ranges seq.
//
// Gaps are passed on and do not count. A gap or an error after the nth value is
// not seen.
//
// Ranged again, it ranges seq again, for up to n values. When the consumer
// stops, seq is stopped.
func Take[T any](seq iter.Seq2[T, error], n int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if n <= 0 {
			return
		}
		taken := 0
		for v, err := range seq {
			if err != nil {
				if !pass(yield, err) {
					return
				}
				continue
			}
			taken++
			if !yield(v, nil) || taken == n {
				return
			}
		}
	}
}
