package stream_test

import (
	"context"
	"iter"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/stream"
)

// The rules in the section "Ranging" of the package's documentation, for every
// function that takes a sequence. synctest checks that no goroutine is left: it
// fails a test that leaves one.

func TestNeverRanged(t *testing.T) {
	for _, op := range append(operators, infallible) {
		t.Run(op.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := newSource(1, 2, 3)
				_ = op.over(t.Context(), source.seq())
				synctest.Wait()
				source.check(t, 0, 0)
			})
		})
	}
}

func TestRangedTwice(t *testing.T) {
	for _, op := range append(operators, infallible) {
		t.Run(op.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := newSource(1, 2, 3)
				seq := op.over(t.Context(), source.seq())
				for i := 1; i <= 2; i++ {
					if got := trace(t, seq); !slices.Equal(got, []string{"1", "2", "3"}) {
						t.Errorf("range %d yielded %q", i, got)
					}
					source.check(t, i, i)
				}
			})
		})
	}
}

// A range that ends early has no effect on the next range.
func TestRangedAgainAfterBreak(t *testing.T) {
	for _, op := range append(operators, infallible) {
		t.Run(op.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seq := op.over(t.Context(), newSource(1, 2, 3).seq())
				for range seq {
					break
				}
				if got := trace(t, seq); !slices.Equal(got, []string{"1", "2", "3"}) {
					t.Errorf("the second range yielded %q", got)
				}
			})
		})
	}
}

// With -race, this test finds state that two ranges share.
func TestRangedByTwoAtTheSameTime(t *testing.T) {
	for _, op := range append(operators, infallible) {
		t.Run(op.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seq := op.over(t.Context(), stream.Of(1, 2, 3))
				var both sync.WaitGroup
				for range 2 {
					both.Go(func() {
						if got := trace(t, seq); !slices.Equal(got, []string{"1", "2", "3"}) {
							t.Errorf("yielded %q", got)
						}
					})
				}
				both.Wait()
			})
		})
	}
}

func TestConsumerStopsEarly(t *testing.T) {
	// Each way of stopping consumes one value.
	ways := []struct {
		name string
		stop func(seq iter.Seq2[int, error])
	}{
		{"break", func(seq iter.Seq2[int, error]) {
			for range seq {
				break
			}
		}},
		{"return", func(seq iter.Seq2[int, error]) {
			for range seq {
				return
			}
		}},
		{"panic", func(seq iter.Seq2[int, error]) {
			defer func() { _ = recover() }()
			for range seq {
				panic("the consumer's own")
			}
		}},
		{"Goexit", func(seq iter.Seq2[int, error]) {
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for range seq {
					runtime.Goexit()
				}
			}()
			<-ended
		}},
		{"the stop of iter.Pull2", func(seq iter.Seq2[int, error]) {
			next, stop := iter.Pull2(seq)
			next()
			stop()
		}},
	}
	for _, op := range append(operators, infallible) {
		for _, way := range ways {
			t.Run(op.name+" by "+way.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					source := newSource(1, 2, 3)
					way.stop(op.over(t.Context(), source.seq()))
					source.check(t, 1, 1)
					if source.asked > 1+op.ahead {
						t.Errorf("the source was asked for %d values, want at most %d", source.asked, 1+op.ahead)
					}
				})
			})
		}
	}
}

// The panic of a source reaches the consumer with its value.
func TestSourcePanics(t *testing.T) {
	for _, op := range append(operators, infallible) {
		t.Run(op.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				value := new(int)
				var seen []int
				got := panicOf(func() {
					for v := range op.over(t.Context(), func(yield func(int, error) bool) {
						yield(1, nil)
						panic(value)
					}) {
						seen = append(seen, v)
					}
				})
				if got != value {
					t.Errorf("the range statement panicked with %v, want the source's value", got)
				}
				if !slices.Equal(seen, []int{1}) {
					t.Errorf("yielded %v before it, want [1]", seen)
				}
			})
		})
	}
}

// panicOf returns the value with which f panics, or nil if f does not panic.
func panicOf(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

// A function asks for a value only when the values before it have been
// consumed. Merge asks for one value more.
func TestInStep(t *testing.T) {
	for _, op := range append(operators, infallible) {
		t.Run(op.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := newSource(1, 2, 3, 4, 5)
				consumed := 0
				for range op.over(t.Context(), source.seq()) {
					synctest.Wait()
					consumed++
					if want := min(consumed+op.ahead, 5); source.asked != want {
						t.Errorf("with value %d in hand, %d were asked for, want %d", consumed, source.asked, want)
					}
				}
			})
		})
	}
}

// The same rules for the functions that begin a sequence. Each case ranges the
// sequence, stops after the second value, and ranges it again.
func TestRangingOfBeginnings(t *testing.T) {
	tests := []struct {
		name          string
		build         func(ctx context.Context) (seq iter.Seq2[int, error], untouched func() bool)
		first, second []int
	}{
		{
			name: "Of begins again",
			build: func(context.Context) (iter.Seq2[int, error], func() bool) {
				return stream.Of(1, 2, 3), func() bool { return true }
			},
			first: []int{1, 2}, second: []int{1, 2},
		},
		{
			name: "Every begins a new schedule",
			build: func(ctx context.Context) (iter.Seq2[int, error], func() bool) {
				begin := time.Now()
				ticks := stream.Every(ctx, 10*time.Second)
				return func(yield func(int, error) bool) {
					ticks(func(now time.Time, err error) bool { return yield(int(now.Sub(begin).Seconds()), err) })
				}, func() bool { return time.Since(begin) == 0 }
			},
			first: []int{0, 10}, second: []int{10, 20},
		},
		{
			name: "Receive goes on with what the channel holds",
			build: func(ctx context.Context) (iter.Seq2[int, error], func() bool) {
				ch := make(chan int, 4)
				for i := range cap(ch) {
					ch <- i
				}
				return stream.Receive(ctx, ch), func() bool { return len(ch) == cap(ch) }
			},
			first: []int{0, 1}, second: []int{2, 3},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seq, untouched := test.build(t.Context())
				synctest.Wait()
				if !untouched() {
					t.Error("something happened before the sequence was ranged")
				}
				for i, want := range [][]int{test.first, test.second} {
					var got []int
					for v, err := range seq {
						if err != nil {
							t.Fatalf("range %d: %v", i+1, err)
						}
						if got = append(got, v); len(got) == len(want) {
							break
						}
					}
					if !slices.Equal(got, want) {
						t.Errorf("range %d yielded %v, want %v", i+1, got, want)
					}
				}
			})
		})
	}
}
