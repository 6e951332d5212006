package sse

import (
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"strconv"
)

// A StatusError is how the function of a [Handler] refuses a request before
// the stream begins. A browser's EventSource gives up for good on any status
// but 200; 204 (No Content) is the standard's way to tell it to stop (WHATWG
// HTML 9.2.3).
type StatusError struct {
	Status  int         // 204, or of the 3xx, 4xx or 5xx; any other is answered with 500
	Message string      // the body, in words for the client; empty means the status' own text
	Header  http.Header // set on the response, for example Retry-After
	Err     error       // the reason, for the log; the client never sees it
}

func (e *StatusError) Error() string {
	s := "sse: refused with status " + strconv.Itoa(e.Status)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *StatusError) Unwrap() error { return e.Err }

// ServeHTTP answers with the status, as plain text.
func (e *StatusError) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	for key, values := range e.Header {
		w.Header()[http.CanonicalHeaderKey(key)] = values
	}
	status, message := e.Status, e.Message
	if status == http.StatusNoContent {
		w.WriteHeader(status)
		return
	}
	if status < 300 || status > 599 {
		status = http.StatusInternalServerError
	}
	if message == "" {
		message = http.StatusText(status)
	}
	http.Error(w, message, status)
}

type opener = func(*http.Request) (iter.Seq2[Event, error], error)

// Handler returns a handler that answers each request with the sequence which
// open returns for it, as [Serve] does with the same options.
//
// open may refuse instead, before anything is written: with a [*StatusError],
// or with any error that is itself an http.Handler and answers for itself. Any
// other error is answered with a plain 500 and logged. For a HEAD request open
// is called, and the sequence is not ranged: what open acquires for it must
// also be released when the request's context is done. open is called for
// several requests at the same time.
//
// A stream that fails is logged; one that ends because its client has left is
// logged at the debug level only.
func Handler(open func(*http.Request) (iter.Seq2[Event, error], error), opts *ServeOptions) http.Handler {
	o := opts.cloneWithDefaults()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		events, err := open(r)
		if err != nil {
			refusal, ok := errors.AsType[interface {
				error
				http.Handler
			}](err)
			if !ok {
				o.Logger.ErrorContext(r.Context(), "sse: a stream could not begin", "method", r.Method, "path", r.URL.Path, "error", err)
				refusal = &StatusError{Status: http.StatusInternalServerError}
			}
			refusal.ServeHTTP(w, r)
			return
		}
		serve(w, r, events, o, open, func(err error) {
			if err == nil {
				return
			}
			level, message := slog.LevelError, "sse: a stream failed"
			if _, ok := errors.AsType[*WriteError](err); ok || r.Context().Err() != nil {
				level, message = slog.LevelDebug, "sse: a stream ended with its client"
			}
			o.Logger.Log(r.Context(), level, message, "method", r.Method, "path", r.URL.Path, "error", err)
		})
	})
}
