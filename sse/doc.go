// Package sse turns an iterator of events into a correct server-sent events
// response, and a response back into an iterator of events.
//
// A handler says only what its stream is:
//
//	http.Handle("GET /events", sse.Handler(func(r *http.Request) (iter.Seq2[sse.Event, error], error) {
//		return stream.Map(stream.Every(r.Context(), time.Second), func(t time.Time) (sse.Event, error) {
//			return sse.JSON("tick", t)
//		}), nil
//	}, nil))
//
// Framing, headers, flushing, keep-alive, deadlines and the end are the work
// of [Serve]. [Decode] is the other direction: the parser of the standard, for
// clients and tests.
//
// # The contract of a sequence
//
// A stream is an iter.Seq2[Event, error], ranged once, on the goroutine of the
// handler. Go cannot interrupt a function that waits, so a sequence that waits
// for anything must also wait for the request's context, and return when that
// is done. The functions of package stream do, and stream.Sleep does where a
// program would call time.Sleep. What a sequence holds it releases with its own
// defer: it is resumed or told to stop in every case, a client that has left
// included.
//
// A non-nil error ends the sequence, and the client sees a broken response
// instead of a clean end. The one exception is a [*GapError], after which a
// sequence goes on: it says that events are missing, and Serve passes that on
// to the client.
//
// The standard meant throughout is the HTML Living Standard, section 9.2,
// Server-sent events (WHATWG HTML 9.2).
package sse
