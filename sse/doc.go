// Package sse turns an iterator of events into a correct server-sent events
// response, and a response back into an iterator of events.
//
// A handler only provides the sequence of events:
//
//	http.Handle("GET /events", sse.Handler(func(r *http.Request) (iter.Seq2[sse.Event, error], error) {
//		return stream.Map(stream.Every(r.Context(), time.Second), func(t time.Time) (sse.Event, error) {
//			return sse.JSON("tick", t)
//		}), nil
//	}, nil))
//
// [Serve] does the framing, the headers, the flushing, the keep-alives and the
// deadlines, and ends the response. [Decode] is the other direction: the
// standard's parser, for clients and tests.
//
// # The contract of a sequence
//
// A stream is an iter.Seq2[Event, error]. Serve ranges it once, on the
// handler's goroutine. Go cannot interrupt a function that waits. A sequence
// that waits for anything must therefore also wait for the request's context,
// and return when that context is done. The functions of package stream do so;
// use stream.Sleep in place of time.Sleep. A sequence releases its resources
// with its own defers. They always run, because Serve always resumes the
// sequence or tells it to stop, even when the client has left.
//
// A non-nil error ends the sequence, and the client sees a broken response
// instead of a clean end. The one exception is a [*GapError]: it reports
// missing events, Serve tells the client, and the sequence goes on.
//
// In this package, "the standard" is the HTML Living Standard, section 9.2,
// Server-sent events (WHATWG HTML 9.2).
package sse
