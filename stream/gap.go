package stream

import (
	"errors"

	"example.com/tidings/sse"
)

// isGap reports whether err is a gap, the only error after which a sequence
// goes on.
func isGap(err error) bool {
	_, ok := errors.AsType[*sse.GapError](err)
	return ok
}

// pass yields err and reports whether the sequence goes on. It does if err is a
// gap and the consumer has not stopped.
func pass[T any](yield func(T, error) bool, err error) bool {
	var zero T
	return yield(zero, err) && isGap(err)
}
