package sse

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"time"
)

const (
	defaultKeepAlive    = 15 * time.Second
	defaultWriteTimeout = 10 * time.Second
)

// ServeOptions configure [Serve] and [Handler]. The zero value holds the
// defaults; a negative duration switches a thing off.
type ServeOptions struct {
	// KeepAlive is how long the stream may be silent before the keep-alive is
	// sent: proxies close connections that are idle, and only by writing does
	// a server find a peer that has vanished. Each event restarts it. 0 means
	// 15 seconds.
	KeepAlive time.Duration

	// KeepAliveEvent is what is sent as keep-alive. The zero Event stands for
	// an empty comment, Event{Comment: "keep-alive"} is a comment with a text,
	// and an event with a type or data is one that the client sees. One that
	// AppendText refuses makes Serve answer with a plain 500.
	KeepAliveEvent Event

	// WriteTimeout bounds each write, so that a client which takes nothing does
	// not hold the handler; a large event is written in pieces of 256 KiB, each
	// with a timeout of its own. (Of many writes in a short time, some have an
	// eighth less.) It replaces http.Server.WriteTimeout, which
	// bounds the whole response, for this response; a handler that goes on after
	// Serve has this long to return. 0 means 10 seconds. A host that
	// vanished without a word takes writes until the kernel's buffers are full:
	// docs/guide.md tells which settings of the server find it sooner.
	WriteTimeout time.Duration

	// OnError, when set, is asked what to send to the client in place of an
	// error of the sequence. With true the event is sent as it is (the zero
	// Event sends nothing) and the stream ends cleanly, or goes on after a
	// *GapError. With false the response is broken off. It is not called when
	// the request's context is done. The text is the author's to choose:
	// err.Error() is for logs. It is called on the handler's goroutine, so for
	// several requests at the same time where they share their options.
	OnError func(error) (Event, bool)

	// Logger receives a warning when a sequence runs on after its request has
	// ended and, from Handler, the errors that no caller sees. nil means
	// slog.Default().
	Logger *slog.Logger
}

func (o *ServeOptions) cloneWithDefaults() *ServeOptions {
	opts := new(ServeOptions)
	if o != nil {
		*opts = *o
	}
	if opts.KeepAlive == 0 {
		opts.KeepAlive = defaultKeepAlive
	}
	if opts.WriteTimeout == 0 {
		opts.WriteTimeout = defaultWriteTimeout
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return opts
}

// LastEventID returns the id after which a client that reconnects wants to go
// on, from the Last-Event-ID header (WHATWG HTML 9.2.4), or "" on a first
// connection. It is untrusted input.
func LastEventID(r *http.Request) string {
	return r.Header.Get("Last-Event-ID")
}

// Serve answers r with the events of a sequence, and returns when the sequence
// has ended; nil options are the defaults. It ranges over the sequence on the
// caller's goroutine; nothing is written once it has returned. See the package
// comment for what a sequence owes in return, above all to return when
// r.Context() is done.
//
// Serve comes before any other write of the response, and after the request's
// body has been read: over HTTP/1 net/http notices that a client leaves only
// when nothing of the body is left. While Serve runs nothing else may use w,
// the sequence included, since keep-alives are written from another goroutine.
//
// The headers go out before the first event: Content-Type is replaced,
// Content-Length and Transfer-Encoding are dropped; Cache-Control (no-cache)
// and X-Accel-Buffering (no, for nginx) are left alone where they are set. Each
// event is flushed as it comes. A HEAD request is answered with the headers,
// without ranging.
//
// A sequence that returns ends the response cleanly, also when it returns
// because r.Context() is done: one whose end must not be mistaken, as that of
// an export which ran into a deadline, yields the error. One that yields an
// error, an event that [Event.AppendText] refuses included, or that panics,
// does not: the response is broken off, so that a client over HTTP/1.1 or
// HTTP/2 cannot take it for the end, even if the caller ignores Serve's result
// or a middleware recovers from the panic; the request's context ends with it,
// so that whatever the sequence still waits for ends too. (Over HTTP/1.0, where
// closing is the only end, no client can tell.) A [*GapError] is sent as the
// event that says so, and the sequence goes on. [ServeOptions.OnError] decides
// otherwise for both. Where w supports neither deadlines nor Hijack, Serve does
// not return when it breaks off: it ends the goroutine with [runtime.Goexit],
// and with it net/http the connection or stream, if it is the goroutine that
// net/http called the handler on.
//
// The result is nil when the sequence returned and all of it was written. It is
// the cause of r.Context() when that ended the stream, as mostly when the
// client has left, or else the sequence's error, or a [*WriteError]. Where w
// cannot flush, and after no Flush of any wrapper, the answer is a plain 500
// and the result wraps [http.ErrNotSupported].
func Serve(w http.ResponseWriter, r *http.Request, events iter.Seq2[Event, error], opts *ServeOptions) error {
	return serve(w, r, events, (*response).encode, opts.cloneWithDefaults(), nil, func(error, bool) {})
}

// ServeText is [Serve] for events that are already in their wire form, so that what
// goes to many clients is encoded once. Each item of the sequence is one event, as
// [Event.AppendText] returns it, or several in a row, and is written and flushed at
// once. ServeText does not check the bytes, never changes them, and may have net/http
// read them until the response has ended, or longer over HTTP/2: so they must not
// change any more.
func ServeText(w http.ResponseWriter, r *http.Request, texts iter.Seq2[[]byte, error], opts *ServeOptions) error {
	asIs := func(_ *response, text []byte) ([]byte, error) { return text, nil }
	return serve(w, r, texts, asIs, opts.cloneWithDefaults(), nil, func(error, bool) {})
}

// serve is Serve with defaults filled in, for items that encode brings into their
// wire form. open is the function that a Handler has the sequence from, for the log.
// report is given the result, and whether the client or the request's end is its
// reason, unless there was a panic; it is called before the response is ended, since
// that may end the goroutine.
func serve[T any](w http.ResponseWriter, r *http.Request, items iter.Seq2[T, error], encode func(*response, T) ([]byte, error), opts *ServeOptions, open opener, report func(err error, ended bool)) (err error) {
	var s *response
	how := refused
	defer func() {
		if how != panicked {
			report(err, how == ended || how == cutShort)
		}
		if s != nil {
			s.finish(how)
		}
	}()
	if items == nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return errors.New("sse: the sequence is nil")
	}
	if s, err = prepare(w, r, opts); err != nil || r.Method == http.MethodHead {
		return err // net/http sends the headers when the handler returns
	}
	how = panicked
	if how, err = s.commit(); err != nil {
		return err
	}
	how = panicked
	s.watch(items, open)
	how, err = run(s, items, encode)
	return err
}

// An outcome is how a response has ended.
type outcome int

const (
	panicked outcome = iota // or runtime.Goexit was called
	complete                // all of it is with the client
	ended                   // the same, and the request has ended
	broken                  // by the sequence: the client must not take it for complete
	cutShort                // by the client or the request's end: neither
	refused                 // it is another one, or without a body
)

// run writes the items until the sequence ends, or must. A response that is
// not to look complete is broken off before that: the sequence may take its
// time to end.
func run[T any](s *response, items iter.Seq2[T, error], encode func(*response, T) ([]byte, error)) (outcome, error) {
	for item, err := range items {
		how, result, done := cutShort, error(nil), true
		if err == nil && s.ctx.Err() == nil {
			var b []byte
			if b, err = encode(s, item); err == nil {
				if result = s.write(b); result == nil {
					continue
				}
			}
		}
		if result == nil {
			how, result, done = s.settle(err)
		}
		if !done {
			continue
		}
		if how != complete {
			s.abort()
		}
		return how, result
	}
	if s.ctx.Err() != nil {
		return ended, context.Cause(s.ctx)
	}
	if err := s.failure(); err != nil {
		return cutShort, err
	}
	return complete, nil
}

// settle writes what stands for an error of the sequence, if the request has not ended.
// done is whether the stream ends with it, how and with which result.
func (s *response) settle(err error) (how outcome, result error, done bool) {
	if s.ctx.Err() != nil {
		return cutShort, context.Cause(s.ctx), true
	}
	gap, isGap := errors.AsType[*GapError](err)
	var ev Event
	ok := isGap
	if s.opts.OnError != nil {
		ev, ok = s.opts.OnError(err)
	} else if isGap {
		ev = gap.Event()
	}
	if !ok {
		return broken, err, true
	}
	b, encErr := s.encode(ev)
	if encErr != nil {
		return broken, fmt.Errorf("%w (the event of OnError: %w)", err, encErr), true
	}
	if err := s.write(b); err != nil {
		return cutShort, err, true
	}
	return complete, err, !isGap
}
