package stream

import "iter"

// Indexed is a value and its index in a sequence, counted from 0.
type Indexed[T any] struct {
	Index int
	Value T
}

// Enumerate returns the values of seq, each with its index. It passes errors
// and gaps on and does not count them: the index after a gap is one more than
// the index before it, however many values the gap says are missing.
//
// Ranged again, it ranges seq again and counts from 0. When the consumer stops,
// seq is stopped.
func Enumerate[T any](seq iter.Seq2[T, error]) iter.Seq2[Indexed[T], error] {
	return func(yield func(Indexed[T], error) bool) {
		i := 0
		for v, err := range seq {
			if err != nil {
				if !pass(yield, err) {
					return
				}
				continue
			}
			if !yield(Indexed[T]{i, v}, nil) {
				return
			}
			i++
		}
	}
}
