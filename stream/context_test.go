package stream_test

import (
	"context"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/stream"
)

// waiting lists the functions that wait. Each case builds a sequence that goes
// on for ever: a value at once, and another after each second. begun counts the
// sources that have been ranged.
var waiting = []struct {
	name  string
	build func(ctx context.Context, begun *int) iter.Seq2[int, error]
}{
	{"Every", func(ctx context.Context, _ *int) iter.Seq2[int, error] {
		return stream.Map(stream.Every(ctx, time.Second), func(time.Time) (int, error) { return 1, nil })
	}},
	{"Throttle", func(ctx context.Context, begun *int) iter.Seq2[int, error] {
		return stream.Throttle(ctx, endless(begun), time.Second)
	}},
	{"Merge", func(ctx context.Context, begun *int) iter.Seq2[int, error] {
		return stream.Merge(ctx,
			func(ctx context.Context) iter.Seq2[int, error] {
				*begun++
				return stream.Throttle(ctx, endless(new(int)), time.Second)
			},
			func(ctx context.Context) iter.Seq2[int, error] {
				return stream.Receive(ctx, make(chan int)) // never yields a value
			},
		)
	}},
	{"Receive", func(ctx context.Context, _ *int) iter.Seq2[int, error] {
		ch := make(chan int, 10)
		ch <- 1
		go func() {
			for stream.Sleep(ctx, time.Second) == nil {
				ch <- 1
			}
		}()
		return stream.Receive(ctx, ch)
	}},
}

func endless(begun *int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		*begun++
		for yield(1, nil) {
		}
	}
}

func TestContextDoneBeforeRanging(t *testing.T) {
	for _, test := range waiting {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				begun := 0
				seq := test.build(ctx, &begun)
				cancel()
				if got := trace(t, seq); len(got) > 0 {
					t.Errorf("yielded %q, want nothing", got)
				}
				if begun > 0 {
					t.Errorf("a source was ranged")
				}
			})
		})
	}
}

func TestContextDoneWhileWaiting(t *testing.T) {
	for _, test := range waiting {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
				defer cancel()
				begin := time.Now()
				got := trace(t, test.build(ctx, new(int)))
				if took := time.Since(begin); took != 2500*time.Millisecond {
					t.Errorf("ended after %v, want 2.5s", took)
				}
				if want := []string{"1", "1", "1"}; !slices.Equal(got, want) { // at 0, 1 and 2 s
					t.Errorf("yielded %q, want %q and no error", got, want)
				}
			})
		})
	}
}

// If the context ends while the consumer handles a value, the sequence ends,
// even if the next value is ready.
func TestContextDoneWhileConsuming(t *testing.T) {
	for _, test := range waiting {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				seen := 0
				for range test.build(ctx, new(int)) {
					seen++
					time.Sleep(3500 * time.Millisecond)
					synctest.Wait()
					cancel()
				}
				if seen != 1 {
					t.Errorf("%d values seen, want 1", seen)
				}
			})
		})
	}
}

// A source may report with an error that its context is done. If that is also
// the context of the function, the error is not passed on.
func TestContextErrorOfASource(t *testing.T) {
	reports := func(ctx context.Context) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			if yield(1, nil) {
				<-ctx.Done()
				yield(0, ctx.Err())
			}
		}
	}
	tests := []struct {
		name  string
		build func(ctx context.Context) iter.Seq2[int, error]
	}{
		{"Throttle", func(ctx context.Context) iter.Seq2[int, error] {
			return stream.Throttle(ctx, reports(ctx), time.Second)
		}},
		{"Merge", func(ctx context.Context) iter.Seq2[int, error] { return stream.Merge(ctx, reports) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if got := trace(t, test.build(ctx)); !slices.Equal(got, []string{"1"}) {
					t.Errorf("yielded %q, want only the value", got)
				}
			})
		})
	}
}

// The same rule applies if the source learns of the end before Merge's own
// context is done. That context follows the caller's context a moment later.
func TestContextErrorOfAQuickSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := &endingContext{Context: t.Context()}
		got := trace(t, stream.Merge(ctx, func(context.Context) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				if yield(1, nil) {
					ctx.ended.Store(true)
					yield(0, ctx.Err())
				}
			}
		}))
		if len(got) > 1 || len(got) == 1 && got[0] != "1" {
			t.Errorf("yielded %q, want at most the value", got)
		}
	})
}

// An endingContext can have an error before its Done is closed.
type endingContext struct {
	context.Context
	ended atomic.Bool
}

func (c *endingContext) Err() error {
	if c.ended.Load() {
		return context.Canceled
	}
	return c.Context.Err()
}
