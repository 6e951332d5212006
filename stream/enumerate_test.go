package stream_test

import (
	"slices"
	"testing"

	"example.com/tidings/stream"
)

// Indexes count only values, from 0 in each range.
func TestEnumerate(t *testing.T) {
	type indexed = stream.Indexed[int]
	seq := stream.Enumerate(newSource(gap, 7, 8, gap, 9).seq())
	for range 2 {
		var got []indexed
		for v, err := range seq {
			if err == nil {
				got = append(got, v)
			}
		}
		if want := []indexed{{0, 7}, {1, 8}, {2, 9}}; !slices.Equal(got, want) {
			t.Errorf("yielded %v, want %v", got, want)
		}
	}
}
