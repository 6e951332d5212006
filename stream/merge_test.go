package stream_test

import (
	"context"
	"iter"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/stream"
)

type openFunc = func(context.Context) iter.Seq2[int, error]

// open returns a source for Merge that yields the values of seq.
func open(seq iter.Seq2[int, error]) openFunc {
	return func(context.Context) iter.Seq2[int, error] { return seq }
}

// lingering returns a source that yields nothing and waits until its context is
// done. It then spends the time cleanUp and sets ended.
func lingering(cleanUp time.Duration, ended *bool) openFunc {
	return func(ctx context.Context) iter.Seq2[int, error] {
		return func(func(int, error) bool) {
			defer func() {
				time.Sleep(cleanUp)
				*ended = true
			}()
			<-ctx.Done()
		}
	}
}

func TestMergeYieldsAsValuesCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 0, 1, 2 come every 2 s, starting at 0 s; 100, 101 come every 2.5 s,
		// starting at 1 s.
		at := func(start, every time.Duration, values ...int) openFunc {
			return func(ctx context.Context) iter.Seq2[int, error] {
				return func(yield func(int, error) bool) {
					time.Sleep(start)
					stream.Throttle(ctx, stream.Of(values...), every)(yield)
				}
			}
		}
		got := trace(t, stream.Merge(t.Context(),
			at(0, 2*time.Second, 0, 1, 2),
			at(time.Second, 2500*time.Millisecond, 100, 101)))
		if want := []string{"0", "100", "1", "101", "2"}; !slices.Equal(got, want) {
			t.Errorf("yielded %q, want %q", got, want)
		}
	})
}

func TestMergeKeepsTheOrderOfEachSource(t *testing.T) {
	const n = 1000
	var sources []openFunc
	for s := range 4 {
		sources = append(sources, func(context.Context) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				for i := range n {
					if !yield(s*n+i, nil) {
						return
					}
				}
			}
		})
	}
	next := make([]int, len(sources))
	for v, err := range stream.Merge(t.Context(), sources...) {
		if err != nil {
			t.Fatal(err)
		}
		s, i := v/n, v%n
		if i != next[s] {
			t.Fatalf("source %d: value %d came where %d was due", s, i, next[s])
		}
		next[s]++
	}
	for s := range next {
		if next[s] != n {
			t.Errorf("source %d: %d values came, want %d", s, next[s], n)
		}
	}
}

func TestMergeOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if got := trace(t, stream.Merge[int](t.Context())); len(got) > 0 {
			t.Errorf("yielded %q, want nothing", got)
		}
	})
}

// A source that ends does not end the others, and does not end their context.
func TestMergeGoesOnWithoutOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := func(ctx context.Context) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				if stream.Sleep(ctx, time.Minute) == nil {
					yield(2, nil)
				}
			}
		}
		got := trace(t, stream.Merge(t.Context(), open(stream.Of(1)), late, open(stream.Of[int]())))
		if want := []string{"1", "2"}; !slices.Equal(got, want) {
			t.Errorf("yielded %q, want %q", got, want)
		}
	})
}

// However the sequence ends, the sources' context is done, and all sources have
// ended before the range statement ends.
func TestMergeWaitsForItsSources(t *testing.T) {
	type body = func(v int, err error, cancel func()) (goOn bool)
	goOn := func(int, error, func()) bool { return true }
	tests := []struct {
		name  string
		first openFunc
		body  body
		want  any // what the range statement panics with
	}{
		{"the consumer breaks", open(stream.Of(1, 2)), func(int, error, func()) bool { return false }, nil},
		{"the consumer panics", open(stream.Of(1, 2)), func(int, error, func()) bool { panic("own") }, "own"},
		{"the context ends", open(stream.Of(1, 2)), func(_ int, _ error, cancel func()) bool { cancel(); return true }, nil},
		{"a source fails", open(newSource(1, errBoom).seq()), goOn, nil},
		{"a source panics", func(context.Context) iter.Seq2[int, error] {
			return func(func(int, error) bool) { panic("source") }
		}, goOn, "source"},
		{"a source panics before it is ranged", func(context.Context) iter.Seq2[int, error] { panic("opening") }, goOn, "opening"},
		{"a source calls Goexit", func(context.Context) iter.Seq2[int, error] {
			return func(func(int, error) bool) { runtime.Goexit() }
		}, goOn, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var ended1, ended2 bool
				begin := time.Now()
				got := panicOf(func() {
					for v, err := range stream.Merge(ctx, lingering(2*time.Second, &ended1), test.first, lingering(time.Second, &ended2)) {
						if !test.body(v, err, cancel) {
							break
						}
					}
				})
				if got != test.want {
					t.Errorf("panicked with %v, want %v", got, test.want)
				}
				if !ended1 || !ended2 {
					t.Error("the range statement ended before the sources")
				}
				if took := time.Since(begin); took != 2*time.Second {
					t.Errorf("it took %v, want the 2s of the slowest clean-up", took)
				}
			})
		})
	}
}

// An error is yielded last, and the other sources are not asked for more
// values.
func TestMergeErrorEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ticks := func(ctx context.Context) iter.Seq2[int, error] {
			return stream.Map(stream.Every(ctx, time.Second), func(time.Time) (int, error) { return 1, nil })
		}
		failing := func(ctx context.Context) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				time.Sleep(1500 * time.Millisecond)
				if yield(7, errBoom) {
					t.Error("the failing source was told to go on")
				}
			}
		}
		got := trace(t, stream.Merge(t.Context(), ticks, failing))
		if want := []string{"1", "1", "boom"}; !slices.Equal(got, want) {
			t.Errorf("yielded %q, want %q", got, want)
		}
	})
}

func TestMergeGapEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := trace(t, stream.Merge(t.Context(), open(newSource(gap, 1).seq()), open(newSource(gap, 1).seq())))
		slices.Sort(got)
		if want := []string{"1", "1", "gap", "gap"}; !slices.Equal(got, want) {
			t.Errorf("yielded %q in some order, want %q", got, want)
		}
	})
}

// If a source panics during its clean-up after the consumer's break, the panic
// is not lost.
func TestMergePanicDuringCleanUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := func(context.Context) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				defer panic("clean-up")
				yield(1, nil)
				yield(2, nil)
			}
		}
		got := panicOf(func() {
			for range stream.Merge(t.Context(), source) {
				break
			}
		})
		if got != "clean-up" {
			t.Errorf("the range statement panicked with %v, want the source's value", got)
		}
	})
}

// The consumer's own panic takes precedence over the panic of a source.
func TestMergePanicOfBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := func(context.Context) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				defer panic("clean-up")
				yield(1, nil)
			}
		}
		got := panicOf(func() {
			for range stream.Merge(t.Context(), source) {
				panic("own")
			}
		})
		if got != "own" {
			t.Errorf("the range statement panicked with %v, want the consumer's value", got)
		}
	})
}

// If several sources panic, the first panic is raised again.
func TestMergePanicOfSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		panics := func(value any) openFunc {
			return func(ctx context.Context) iter.Seq2[int, error] {
				return func(func(int, error) bool) {
					<-ctx.Done()
					panic(value)
				}
			}
		}
		first := func(context.Context) iter.Seq2[int, error] { panic("first") }
		got := panicOf(func() {
			for range stream.Merge(t.Context(), panics("second"), first, panics("third")) {
				t.Error("something was yielded")
			}
		})
		if got != "first" {
			t.Errorf("the range statement panicked with %v, want the first value", got)
		}
	})
}

// The values that a source has yielded before it panics are yielded to the
// consumer.
func TestMergeYieldsWhatCameBeforeAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 100 {
			var got []int
			v := panicOf(func() {
				for v := range stream.Merge(t.Context(), func(context.Context) iter.Seq2[int, error] {
					return func(yield func(int, error) bool) {
						yield(1, nil)
						yield(2, nil)
						panic("source")
					}
				}) {
					got = append(got, v)
				}
			})
			if v != "source" || !slices.Equal(got, []int{1, 2}) {
				t.Fatalf("yielded %v, then panicked with %v", got, v)
			}
		}
	})
}

// A source that calls runtime.Goexit fails with an error that says so.
func TestMergeGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []error
		for _, err := range stream.Merge(t.Context(), func(context.Context) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				yield(1, nil)
				runtime.Goexit()
			}
		}) {
			got = append(got, err)
		}
		if len(got) != 2 || got[0] != nil || got[1] == nil || !strings.Contains(got[1].Error(), "Goexit") {
			t.Errorf("yielded the errors %v, want nil and one that names Goexit", got)
		}
	})
}

// The consumer's goroutine may exit too.
func TestMergeConsumerGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sourceEnded bool
		exited := make(chan struct{})
		go func() {
			defer close(exited)
			for range stream.Merge(t.Context(), open(stream.Of(1)), lingering(time.Second, &sourceEnded)) {
				runtime.Goexit()
			}
		}()
		<-exited
		if !sourceEnded {
			t.Error("the consumer's goroutine ended before a source")
		}
	})
}

// Merge gives the sources a context of its own. It has the values of the
// caller's context, and ending it does not end the caller's.
func TestMergeContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		ctx := context.WithValue(t.Context(), key{}, "value")
		var inner context.Context
		for range stream.Merge(ctx, func(ctx context.Context) iter.Seq2[int, error] {
			inner = ctx
			return stream.Of(1)
		}) {
			if inner.Err() != nil {
				t.Error("the context of the sources is done while the sequence goes on")
			}
		}
		if inner.Value(key{}) != "value" {
			t.Error("the context of the sources lacks the values of the caller's")
		}
		if inner.Err() == nil || ctx.Err() != nil {
			t.Errorf("at the end the sources' context has %v and the caller's %v, want an error and none", inner.Err(), ctx.Err())
		}
	})
}
