package stream

import "iter"

// Take returns the first n values of seq. After the nth value it stops seq and
// asks for no other value, so it does not wait for a value that nobody will
// see. If n is not positive, the sequence is empty and never ranges seq.
//
// Take passes gaps on and does not count them. It does not pass on a gap or an
// error after the nth value.
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
