// Package stream has functions for sequences of values that may fail:
// iter.Seq2[T, error], the type that package sse turns into a response.
//
// # Writing a sequence
//
// A sequence is a plain function with the parameter yield. It needs no helper
// from this package, except [Sleep] when it waits:
//
//	func countdown(ctx context.Context) iter.Seq2[sse.Event, error] {
//		return func(yield func(sse.Event, error) bool) {
//			for n := 3; n > 0; n-- {
//				if stream.Sleep(ctx, time.Second) != nil {
//					return // ctx is done
//				}
//				if !yield(sse.Event{Data: fmt.Sprint("T-minus ", n)}, nil) {
//					return // the consumer has stopped
//				}
//			}
//			yield(sse.Event{Type: "liftoff", Data: "Liftoff!"}, nil)
//		}
//	}
//
// In Rust, this is the macro stream! of async_stream. A sequence that can fail,
// like Rust's try_stream!, yields the error in place of a value and returns:
//
//	rows, err := db.QueryContext(ctx, query)
//	if err != nil {
//		yield(sse.Event{}, err)
//		return
//	}
//	defer rows.Close()
//
// A sequence releases its resources with its own defers, which run however the
// sequence ends. The examples show both forms in full.
//
// # Errors
//
// An error ends a sequence. The exception is a [*sse.GapError], possibly
// wrapped: it reports missing values, and the sequence goes on after it. Every
// function here that takes a sequence or a function that may fail treats an
// error in the same way:
//
//   - it passes the error on at once, unchanged and in its place among the
//     values, with the zero value beside it;
//   - after a *sse.GapError it goes on;
//   - after any other error it ends and stops its source, even if the consumer
//     or the source would go on.
//
// An error is not a value: [Map], [Filter] and [FilterMap] do not pass it to
// their functions, and [Enumerate] and [Take] do not count it.
//
// # Contexts
//
// Go cannot interrupt a function that waits. The functions that wait therefore
// take a context: [Every], [Throttle], [Merge], [Receive] and [Sleep]. Their
// sequences end without an error when the context is done. They do not pass on
// an error that arrives after that, so a source that reports the end of the same
// context does not cause a failure. If the context is done before the sequence
// is ranged, the sequence yields nothing and touches no source.
//
// The context ends only the waiting of the function itself. A source that waits
// needs the context too. The other functions wait only for their source, and
// need no context.
//
// # Ranging
//
// Building a sequence starts nothing. A sequence that is never ranged has no
// goroutine and no timer, and has not touched its source.
//
// A function keeps no state between two ranges. Ranged again, it starts again
// and ranges its source again. Whether that gives the same values depends on the
// source. Two goroutines may range a sequence at the same time if they may do so
// with its source.
//
// When the consumer stops early, by break, return, panic or runtime.Goexit, the
// source is stopped too, and its defers have run before the range statement
// ends. When a source panics, the range statement panics.
//
// Only [Merge] starts goroutines, and they end before its sequence ends.
// Everything else runs on the consumer's goroutine, in step with it: a function
// asks its source for a value when the consumer has consumed the one before.
package stream
