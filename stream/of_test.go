package stream_test

import (
	"slices"
	"testing"

	"example.com/tidings/stream"
)

func TestOf(t *testing.T) {
	tests := []struct {
		name  string
		items []int
		want  []string
	}{
		{"no item is the empty sequence", nil, nil},
		{"items in order", []int{3, 1, 2}, []string{"3", "1", "2"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := trace(t, stream.Of(test.items...)); !slices.Equal(got, test.want) {
				t.Errorf("yielded %q, want %q", got, test.want)
			}
		})
	}
}

func TestInfallible(t *testing.T) {
	got := trace(t, stream.Infallible(slices.Values([]int{3, 1, 2})))
	if want := []string{"3", "1", "2"}; !slices.Equal(got, want) {
		t.Errorf("yielded %q, want %q", got, want)
	}
}
