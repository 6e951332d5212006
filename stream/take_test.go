package stream_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"example.com/tidings/stream"
)

func TestTake(t *testing.T) {
	tests := []struct {
		rule   string
		steps  []step
		n      int
		want   []string
		asked  int
		ranged int
	}{
		{"n values, and no more asked for", []step{1, 2, 3}, 2, []string{"1", "2"}, 2, 1},
		{"one", []step{1, 2, 3}, 1, []string{"1"}, 1, 1},
		{"fewer when there are fewer", []step{1, 2}, 3, []string{"1", "2"}, 2, 1},
		{"0 never ranges the source", []step{1}, 0, nil, 0, 0},
		{"a negative n never ranges it either", []step{1}, -1, nil, 0, 0},
		{"gaps pass and do not count", []step{gap, 1, gap, errWrappedGap, 2, 3}, 2,
			[]string{"gap", "1", "gap", "wrapped gap", "2"}, 5, 1},
		{"a gap after the last is not seen", []step{1, gap, 2}, 1, []string{"1"}, 1, 1},
		{"an error after the last is not seen", []step{1, errBoom}, 1, []string{"1"}, 1, 1},
		{"an error before the last ends it", []step{1, errBoom, 2}, 2, []string{"1", "boom"}, 2, 1},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			source := newSource(test.steps...)
			if got := trace(t, stream.Take(source.seq(), test.n)); !slices.Equal(got, test.want) {
				t.Errorf("yielded %q, want %q", got, test.want)
			}
			if source.asked != test.asked {
				t.Errorf("the source was asked for %d steps, want %d", source.asked, test.asked)
			}
			source.check(t, test.ranged, test.ranged)
		})
	}
}

// If a source goes on where it stopped, each range takes the next n values.
func TestTakeOfASourceThatGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := make(chan int, 5)
		for i := range cap(ch) {
			ch <- i
		}
		two := stream.Take(stream.Receive(t.Context(), ch), 2)
		for _, want := range [][]string{{"0", "1"}, {"2", "3"}} {
			if got := trace(t, two); !slices.Equal(got, want) {
				t.Errorf("yielded %q, want %q", got, want)
			}
		}
		if len(ch) != 1 {
			t.Errorf("%d values left in the channel, want 1", len(ch))
		}
	})
}
