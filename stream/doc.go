// Package stream has functions over sequences of values that may fail:
// iter.Seq2[T, error], the shape that package sse turns into a response.
//
// # Writing a sequence
//
// A sequence is a plain function that is given yield. It needs no helper from
// this package, except [Sleep] where it waits:
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
// That is what async_stream's stream! is in Rust. A sequence that fails, its
// try_stream!, yields the error in place of a value, and returns:
//
//	rows, err := db.QueryContext(ctx, query)
//	if err != nil {
//		yield(sse.Event{}, err)
//		return
//	}
//	defer rows.Close()
//
// What a sequence holds it releases with its own defer, which runs however the
// sequence ends. The examples show both forms in full.
//
// # Errors
//
// An error ends a sequence, except [*sse.GapError], possibly wrapped, which
// says that values are missing at this point, and after which the sequence
// goes on. Every function here that takes a sequence or a function that may
// fail treats an error in the same way:
//
//   - it passes the error on at once, unchanged and in its place among the
//     values, with the zero value beside it;
//   - after a *sse.GapError it goes on;
//   - after any other error it ends, even if the consumer would go on, and
//     stops its source, even if that would yield more.
//
// An error is not a value: it is not given to the functions that [Map],
// [Filter] and [FilterMap] apply, and [Enumerate] and [Take] do not count it.
//
// # Contexts
//
// Go cannot interrupt a function that waits. The functions that wait, [Every],
// [Throttle], [Merge], [Receive] and [Sleep], therefore take a context. A
// sequence of theirs ends, without an error, when the context is done, and an
// error that arrives then is not passed on: a source that reports the end of
// the same context does not make it a failure. If the context is done before
// the sequence is ranged, nothing is yielded and no source is touched.
//
// The context ends the function's own waiting, not that of its source: a
// source that waits needs the context too. The other functions wait for
// nothing but their source, and need none.
//
// # Ranging
//
// Building a sequence starts nothing: one that is never ranged has no
// goroutine, no timer, and has not touched its source.
//
// A function keeps no state between two ranges. Ranged again, it ranges its
// source again, and begins anew itself; whether that gives the same values is
// up to the source. Two goroutines may range a sequence at the same time if
// they may do so with its source.
//
// When the consumer stops early, by break, return, panic or runtime.Goexit, the
// source is stopped too, and its defers have run before the range statement
// ends. When a source panics, so does the range statement.
//
// Only [Merge] starts goroutines, and they have ended when its sequence ends.
// All else runs on the goroutine of the consumer, in step with it: a value is
// asked of the source when the one before has been consumed.
package stream
