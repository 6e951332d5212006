package stream_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"testing"
	"time"

	"example.com/tidings/sse"
	"example.com/tidings/stream"
)

var (
	errBoom       = errors.New("boom")
	gap           = &sse.GapError{Reason: "lag", Missed: 2}
	errWrappedGap = fmt.Errorf("source: %w", gap)
)

// A step is a number or an error that a source yields.
type step any

// A source yields its steps until its consumer stops, and counts what it is
// asked to do. Beside an error it yields a value that the consumer must never
// see.
type source struct {
	steps   []step
	ranged  int // how often it was ranged
	asked   int // how many steps it was asked for, over all ranges
	cleaned int // how often its defer has run
}

func newSource(steps ...step) *source { return &source{steps: steps} }

func (s *source) seq() iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		s.ranged++
		defer func() { s.cleaned++ }()
		for _, step := range s.steps {
			s.asked++
			v, err := -1, error(nil)
			switch step := step.(type) {
			case int:
				v = step
			case error:
				err = step
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

// check fails the test unless s was ranged and cleaned up as often as given.
func (s *source) check(t *testing.T, ranged, cleaned int) {
	t.Helper()
	if s.ranged != ranged || s.cleaned != cleaned {
		t.Errorf("the source was ranged %d times and cleaned up %d times, want %d and %d",
			s.ranged, s.cleaned, ranged, cleaned)
	}
}

// trace ranges seq to its end, as a consumer that goes on after errors, and
// returns what it saw. Each error must be one of the errors above, unchanged,
// with the zero value beside it.
func trace(t *testing.T, seq iter.Seq2[int, error]) []string {
	t.Helper()
	var seen []string
	seq(func(v int, err error) bool {
		switch err {
		case nil:
			seen = append(seen, strconv.Itoa(v))
			return true
		case errBoom:
			seen = append(seen, "boom")
		case error(gap):
			seen = append(seen, "gap")
		case errWrappedGap:
			seen = append(seen, "wrapped gap")
		default:
			seen = append(seen, "another error: "+err.Error())
		}
		if v != 0 {
			t.Errorf("%d beside the error %q, want the zero value", v, err)
		}
		return true
	})
	return seen
}

// An operator is a function that takes a sequence. Its other arguments let all
// values through unchanged.
type operator struct {
	name string
	over func(ctx context.Context, seq iter.Seq2[int, error]) iter.Seq2[int, error]

	// ahead is how many values the operator may ask for before they are
	// consumed.
	ahead int
}

var operators = []operator{
	{name: "Throttle", over: func(ctx context.Context, seq iter.Seq2[int, error]) iter.Seq2[int, error] {
		return stream.Throttle(ctx, seq, time.Second)
	}},
	{name: "Map", over: func(_ context.Context, seq iter.Seq2[int, error]) iter.Seq2[int, error] {
		return stream.Map(seq, func(v int) (int, error) { return v, nil })
	}},
	{name: "Filter", over: func(_ context.Context, seq iter.Seq2[int, error]) iter.Seq2[int, error] {
		return stream.Filter(seq, func(int) bool { return true })
	}},
	{name: "FilterMap", over: func(_ context.Context, seq iter.Seq2[int, error]) iter.Seq2[int, error] {
		return stream.FilterMap(seq, func(v int) (int, bool, error) { return v, true, nil })
	}},
	{name: "Enumerate", over: func(_ context.Context, seq iter.Seq2[int, error]) iter.Seq2[int, error] {
		indexed := stream.Enumerate(seq)
		return func(yield func(int, error) bool) {
			indexed(func(v stream.Indexed[int], err error) bool { return yield(v.Value, err) })
		}
	}},
	{name: "Take", over: func(_ context.Context, seq iter.Seq2[int, error]) iter.Seq2[int, error] {
		return stream.Take(seq, 100)
	}},
	{name: "Concat, the first", over: func(_ context.Context, seq iter.Seq2[int, error]) iter.Seq2[int, error] {
		return stream.Concat(seq, stream.Of[int]())
	}},
	{name: "Concat, the second", over: func(_ context.Context, seq iter.Seq2[int, error]) iter.Seq2[int, error] {
		return stream.Concat(stream.Of[int](), seq)
	}},
	{name: "Merge", ahead: 1, over: func(ctx context.Context, seq iter.Seq2[int, error]) iter.Seq2[int, error] {
		return stream.Merge(ctx, func(context.Context) iter.Seq2[int, error] { return seq })
	}},
}

// infallible is the operator for Infallible, which needs a source without
// errors.
var infallible = operator{
	name: "Infallible",
	over: func(_ context.Context, seq iter.Seq2[int, error]) iter.Seq2[int, error] {
		return stream.Infallible(func(yield func(int) bool) {
			seq(func(v int, _ error) bool { return yield(v) })
		})
	},
}
