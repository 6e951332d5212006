package sse

import (
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"os"
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
	Err     error       // the reason, which Handler logs; the client never sees it
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
	status, message := e.status(), e.Message
	if status == http.StatusNoContent {
		w.WriteHeader(status)
		return
	}
	if message == "" {
		message = http.StatusText(status)
	}
	http.Error(w, message, status)
}

// status is what the client gets.
func (e *StatusError) status() int {
	if e.Status != http.StatusNoContent && (e.Status < 300 || e.Status > 599) {
		return http.StatusInternalServerError
	}
	return e.Status
}

type opener = func(*http.Request) (iter.Seq2[Event, error], error)

// Handler returns a handler that answers each request with the sequence which
// open returns for it, as [Serve] does with the same options; nil options are
// the defaults.
//
// open may refuse instead, before anything is written: with a [*StatusError],
// or with any error that is itself an http.Handler and answers for itself. Any
// other error is answered with a plain 500 and logged. For a HEAD request open
// is called, and the sequence is not ranged: what open acquires for it must
// also be released when the request's context is done. open is called for
// several requests at the same time.
//
// A stream that fails is logged as an error, and so is a refusal with a status of
// 500 or more. A refusal below that is logged, at the info level, if it has an
// Err, and the end of a stream by its client at the debug level.
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
				refusal = &StatusError{Status: http.StatusInternalServerError, Err: err}
			}
			if e, ok := refusal.(*StatusError); ok {
				logRefusal(r, o.Logger, e)
			}
			refusal.ServeHTTP(w, r)
			return
		}
		serve(w, r, events, (*response).encode, o, open, func(err error, ended bool) {
			level, message := slog.LevelError, "sse: a stream failed"
			switch {
			case err == nil:
				return
			case ended && errors.Is(err, os.ErrDeadlineExceeded):
				level, message = slog.LevelDebug, "sse: a stream was cut off: its client takes nothing"
			case ended:
				level, message = slog.LevelDebug, "sse: a stream ended with its request"
			}
			o.Logger.Log(r.Context(), level, message, "method", r.Method, "path", r.URL.Path, "error", err)
		})
	})
}

// logRefusal logs what the client is not told.
func logRefusal(r *http.Request, logger *slog.Logger, e *StatusError) {
	level := slog.LevelInfo
	if e.status() >= 500 {
		level = slog.LevelError
	} else if e.Err == nil {
		return
	}
	logger.Log(r.Context(), level, "sse: a stream was refused", "method", r.Method, "path", r.URL.Path, "error", e)
}
