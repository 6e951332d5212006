package stream_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/stream"
)

func TestThrottle(t *testing.T) {
	// A wait among the steps is how long the source waits before the next step.
	type wait time.Duration
	tests := []struct {
		rule  string
		d     time.Duration
		steps []step
		busy  time.Duration   // how long the consumer is busy with each thing yielded
		want  []time.Duration // when values, errors and gaps are yielded
		end   time.Duration   // when the sequence has ended
	}{
		{
			rule: "values that come together are spread, without a delay after the last",
			d:    time.Second, steps: []step{1, 2, 3},
			want: seconds(0, 1, 2), end: 2 * time.Second,
		},
		{
			rule: "values that come more slowly are not delayed",
			d:    time.Second, steps: []step{1, wait(1500 * time.Millisecond), 2, wait(time.Second), 3},
			want: seconds(0, 1.5, 2.5), end: 2500 * time.Millisecond,
		},
		{
			rule: "the time is measured from the value before, not from a schedule",
			d:    time.Second, steps: []step{1, wait(1500 * time.Millisecond), 2, 3},
			want: seconds(0, 1.5, 2.5), end: 2500 * time.Millisecond,
		},
		{
			rule: "the time that the consumer takes counts",
			d:    time.Second, steps: []step{1, 2, 3}, busy: 400 * time.Millisecond,
			want: seconds(0, 1, 2), end: 2400 * time.Millisecond,
		},
		{
			rule: "a consumer that takes longer is not made to wait",
			d:    time.Second, steps: []step{1, 2, 3}, busy: 3 * time.Second,
			want: seconds(0, 3, 6), end: 9 * time.Second,
		},
		{
			rule: "a gap passes at once and delays nothing",
			d:    time.Second, steps: []step{gap, 1, gap, 2},
			want: seconds(0, 0, 0, 1), end: time.Second,
		},
		{
			rule: "an error passes at once",
			d:    time.Second, steps: []step{1, 2, errBoom},
			want: seconds(0, 1, 1), end: time.Second,
		},
		{rule: "0 is no delay", d: 0, steps: []step{1, 2, 3}, want: seconds(0, 0, 0)},
		{rule: "a negative time is no delay", d: -1, steps: []step{1, 2, 3}, want: seconds(0, 0, 0)},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := func(yield func(int, error) bool) {
					for _, s := range test.steps {
						if w, ok := s.(wait); ok {
							time.Sleep(time.Duration(w))
							continue
						}
						for v, err := range newSource(s).seq() {
							if !yield(v, err) {
								return
							}
						}
					}
				}
				begin := time.Now()
				var got []time.Duration
				for range stream.Throttle(t.Context(), source, test.d) {
					got = append(got, time.Since(begin))
					time.Sleep(test.busy)
				}
				if !slices.Equal(got, test.want) {
					t.Errorf("yielded at %v, want %v", got, test.want)
				}
				if end := time.Since(begin); end != test.end {
					t.Errorf("ended at %v, want %v", end, test.end)
				}
			})
		})
	}
}

// With the longest possible time, one value passes and the next one waits.
func TestThrottleOfTheLongestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10000*time.Hour)
		defer cancel()
		if got := trace(t, stream.Throttle(ctx, stream.Of(1, 2), 1<<63-1)); !slices.Equal(got, []string{"1"}) {
			t.Errorf("yielded %q, want one value", got)
		}
	})
}

// Even without a delay, the sequence ends with its context.
func TestThrottleWithoutDelayEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := 0
	for range stream.Throttle(ctx, stream.Of(1, 2, 3), 0) {
		seen++
		cancel()
	}
	if seen != 1 {
		t.Errorf("%d values seen, want 1", seen)
	}
}
