package stream

import "iter"

// Concat returns the values of all sequences, one sequence after the other. It
// ranges each sequence when the one before it has ended. An error that is not a
// gap ends them all: Concat does not range the sequences after it.
//
// Ranged again, it ranges the sequences again, from the first. When the
// consumer stops, Concat stops the sequence that it is ranging. A slice given
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
