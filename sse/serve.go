package sse

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	defaultKeepAlive    = 15 * time.Second
	defaultWriteTimeout = 10 * time.Second
)

// ServeOptions configure [Serve] and [Handler]. The zero value holds the
// defaults. A negative KeepAlive or WriteTimeout turns it off.
type ServeOptions struct {
	// KeepAlive is how long the stream may be silent before a keep-alive is
	// sent. Each event restarts that time. Proxies close idle connections, and
	// a server finds a vanished peer only by writing. 0 means 15 seconds.
	KeepAlive time.Duration

	// KeepAliveEvent is the event that is sent as a keep-alive. The zero Event
	// means an empty comment. Event{Comment: "keep-alive"} is a comment with
	// text. The client sees an event that has a type or data. If AppendText
	// refuses the event, Serve answers with a plain 500.
	KeepAliveEvent Event

	// WriteTimeout bounds each write, so that a client that reads nothing does
	// not hold the handler. A large event is written in pieces of 256 KiB, each
	// with its own timeout. If many writes follow in a short time, some have up
	// to an eighth less. WriteTimeout replaces http.Server.WriteTimeout, which
	// bounds the whole response, for this response. A handler that goes on
	// after Serve has this long to return. 0 means 10 seconds. Writes to a host
	// that has vanished succeed until the kernel's buffers are full:
	// docs/guide.md lists the server settings that detect this sooner.
	WriteTimeout time.Duration

	// OnError, if set, decides what the client gets for an error of the
	// sequence. If it returns true, Serve sends the event as it is, or nothing
	// for the zero Event. The stream then ends cleanly, or goes on after a
	// *GapError. If it returns false, Serve breaks the response off. OnError is
	// not called when the request's context is done. Write the text for the
	// client: err.Error() is for logs. OnError runs on the handler's goroutine,
	// so concurrent requests with the same options call it concurrently.
	OnError func(error) (Event, bool)

	// Logger receives a warning when a sequence keeps running after its request
	// has ended. With Handler, it also receives the errors that no caller sees.
	// nil means slog.Default().
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

// LastEventID returns the id after which a reconnecting client wants to go on,
// from the Last-Event-ID header (WHATWG HTML 9.2.4). It returns "" on a first
// connection. The id is untrusted input.
func LastEventID(r *http.Request) string {
	return r.Header.Get("Last-Event-ID")
}

// Accepts reports whether a request explicitly accepts text/event-stream, as
// an EventSource does.
func Accepts(r *http.Request) bool {
	for _, value := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(value, ",") {
			mediaType, params, err := mime.ParseMediaType(part)
			if err != nil || mediaType != "text/event-stream" {
				continue
			}
			// A weight of 0 means "not acceptable" (RFC 9110, section 12.4.2).
			if q, err := strconv.ParseFloat(params["q"], 64); err != nil || q > 0 {
				return true
			}
		}
	}
	return false
}

// Serve answers r with the events of a sequence and returns when the sequence
// has ended. Nil options are the defaults. Serve ranges the sequence on the
// caller's goroutine, and writes nothing after it has returned. The package
// comment says what a sequence must do. Above all, it must return when
// r.Context() is done.
//
// Call Serve before any other write to the response, and after reading the
// request's body: over HTTP/1, net/http notices that a client leaves only when
// the whole body has been read. While Serve runs, nothing else may use w, not
// even the sequence, because another goroutine writes keep-alives.
//
// Serve sends the headers before the first event. It replaces Content-Type, and
// removes Content-Length and Transfer-Encoding. It sets Cache-Control
// (no-cache) and X-Accel-Buffering (no, for nginx) unless they are already set.
// It flushes each event at once. It answers a HEAD request with the headers,
// without ranging.
//
// A sequence that returns ends the response cleanly, even if it returns because
// r.Context() is done. A sequence whose early end must not look complete, such
// as an export that runs into a deadline, must yield the error instead.
//
// Serve breaks the response off if the sequence panics, or yields an error or
// an event that [Event.AppendText] refuses. A client over HTTP/1.1 or HTTP/2
// then cannot take the response for complete, even if the caller ignores
// Serve's result or a middleware recovers from the panic. (Over HTTP/1.0, every
// response ends when the connection closes, and no client can tell.) The
// request's context ends too, so that the sequence does not wait on. For a
// [*GapError], Serve sends the event that reports the gap, and the sequence
// goes on. [ServeOptions.OnError] can decide otherwise for errors and gaps. If
// w supports neither deadlines nor Hijack, breaking off means that Serve does
// not return: it ends the goroutine with [runtime.Goexit]. If net/http called
// the handler on that goroutine, the connection or stream ends with it.
//
// The result is nil if the sequence returned and everything was written. It is
// the cause of r.Context() if that ended the stream, which is usual when the
// client has left. Otherwise it is the sequence's error or a [*WriteError]. If
// w cannot flush, Serve answers with a plain 500, without calling Flush on any
// wrapper, and the result wraps [http.ErrNotSupported].
func Serve(w http.ResponseWriter, r *http.Request, events iter.Seq2[Event, error], opts *ServeOptions) error {
	return serve(w, r, events, (*response).encode, opts.cloneWithDefaults(), nil, func(error, bool) {})
}

// ServeText is [Serve] for events that are already in their wire form, so that
// an event for many clients is encoded once. Each item of the sequence is one
// event, as [Event.AppendText] returns it, or several in a row. ServeText
// writes and flushes each item at once. It neither checks nor changes the
// bytes. net/http may read them until the response has ended, or longer over
// HTTP/2, so they must never change.
func ServeText(w http.ResponseWriter, r *http.Request, texts iter.Seq2[[]byte, error], opts *ServeOptions) error {
	asIs := func(_ *response, text []byte) ([]byte, error) { return text, nil }
	return serve(w, r, texts, asIs, opts.cloneWithDefaults(), nil, func(error, bool) {})
}

// serve is Serve with the defaults filled in. encode turns an item into its
// wire form. open is the function that returned the sequence to a Handler, and
// is only logged. report gets the result. Its argument ended says whether the
// client or the end of the request caused the result. report is not called
// after a panic. It is called before the response ends, because ending it may
// end the goroutine.
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

// An outcome says how a response has ended.
type outcome int

const (
	panicked outcome = iota // the sequence panicked or called runtime.Goexit
	complete                // the stream ended cleanly, and everything was written
	ended                   // the sequence returned after the request had ended
	broken                  // the sequence failed: the response must not look complete
	cutShort                // the client left or the request ended before the sequence returned
	refused                 // no stream was sent: an error response, or headers only
)

// run writes the items until the sequence ends or must stop. If the response
// must not look complete, run breaks it off before it stops the sequence,
// because the sequence may take long to end.
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

// settle handles an error of the sequence. It writes the event for the error,
// unless the request has ended. done reports whether the stream ends; how and
// result then say how.
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
		return broken, fmt.Errorf("%w (cannot encode the event of OnError: %w)", err, encErr), true
	}
	if err := s.write(b); err != nil {
		return cutShort, err, true
	}
	return complete, err, !isGap
}
