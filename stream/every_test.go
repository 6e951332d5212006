package stream_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/stream"
)

func TestEvery(t *testing.T) {
	tests := []struct {
		rule string
		busy []time.Duration // how long the consumer is busy with each tick
		want []time.Duration // when the ticks come
	}{
		{"the first tick comes at once, the others each second",
			[]time.Duration{0, 0, 0, 0}, seconds(0, 1, 2, 3)},
		{"a consumer that is busy for less than a second misses none",
			seconds(0.5, 0.9, 0.1, 0), seconds(0, 1, 2, 3)},
		{"one that is done just when a tick falls due gets it",
			seconds(1, 1, 2, 0), seconds(0, 1, 2, 4)},
		{"ticks that fall due while it is busy are dropped, and the schedule is kept",
			seconds(2.5, 0, 1.1, 0, 0), seconds(0, 3, 4, 6, 7)},
		{"however long that is",
			seconds(3600.25, 0, 0), seconds(0, 3601, 3602)},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				var got []time.Duration
				for now, err := range stream.Every(t.Context(), time.Second) {
					if err != nil {
						t.Fatal(err)
					}
					if !now.Equal(time.Now()) {
						t.Errorf("yielded %v at %v", now, time.Now())
					}
					got = append(got, time.Since(begin))
					if len(got) == len(test.busy) {
						break
					}
					time.Sleep(test.busy[len(got)-1])
				}
				if !slices.Equal(got, test.want) {
					t.Errorf("ticks at %v, want %v", got, test.want)
				}
			})
		})
	}
}

// The longest possible interval does not overflow.
func TestEveryOfTheLongestInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const longest = time.Duration(1<<63 - 1)
		begin, ticks := time.Now(), 0
		for range stream.Every(t.Context(), longest) {
			if ticks++; ticks == 2 {
				break
			}
		}
		if took := time.Since(begin); took < longest/2 { // the bubble's clock itself ends before longest
			t.Errorf("the second tick came after %v", took)
		}
	})
}

func TestEveryPanicsWhenCalled(t *testing.T) {
	for _, d := range []time.Duration{0, -1} {
		if v := panicOf(func() { stream.Every(t.Context(), d) }); v == nil {
			t.Errorf("Every(ctx, %v) did not panic", d)
		}
	}
}

func seconds(s ...float64) []time.Duration {
	ds := make([]time.Duration, len(s))
	for i := range s {
		ds[i] = time.Duration(s[i] * float64(time.Second))
	}
	return ds
}
