package stream

import "iter"

// Concat returns the values of the sequences, one sequence after the other.
// Each is ranged when the one before it has ended. An error of one, unless it
// is a gap, ends them all: those after it are not ranged.
//
// Ranged again, it ranges the sequences again, from the first. When the
// consumer stops, the sequence that is being ranged is stopped. A slice given
// as seqs... is not copied.
func Concat[T any](seqs ...iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, seq := range seqs {
			for v, err := range seq {
				if err != nil {
					if !pass(yield, err) {
						return
					}
					continue
				}
				if !yield(v, nil) {
					return
				}
			}
		}
	}
}
