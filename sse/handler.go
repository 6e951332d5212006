package sse

import (
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"os"
	"strconv"
)

// A StatusError refuses a request before the stream begins. The open function
// of a [Handler] returns it. A browser's EventSource never retries after a
// status other than 200. 204 (No Content) is the standard's way to tell it to
// stop (WHATWG HTML 9.2.3).
type StatusError struct {
	Status  int         // 204, 3xx, 4xx or 5xx; 500 is sent in place of any other status
	Message string      // the body, written for the client; empty means the text of the status
	Header  http.Header // set on the response, for example Retry-After
	Err     error       // the reason, which Handler logs and the client never sees
}

func (e *StatusError) Error() string {
	s := "sse: refused with status " + strconv.Itoa(e.Status)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *StatusError) Unwrap() error { return e.Err }

// ServeHTTP answers with the status and, as plain text, the message.
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

// status returns the status that the client gets.
func (e *StatusError) status() int {
	if e.Status != http.StatusNoContent && (e.Status < 300 || e.Status > 599) {
		return http.StatusInternalServerError
	}
	return e.Status
}

type opener = func(*http.Request) (iter.Seq2[Event, error], error)

// Handler returns a handler that calls open for each request and answers with
// the sequence that open returns, as [Serve] does. Nil options are the
// defaults.
//
// open may refuse the request before anything is written. It then returns a
// [*StatusError], or any other error that is itself an http.Handler and writes
// the response. Handler answers any other error with a plain 500 and logs it.
// For a HEAD request, Handler calls open but does not range the sequence. What
// open acquires must therefore also be released when the request's context is
// done. Handler calls open concurrently for concurrent requests.
//
// Handler logs a failed stream, and a refusal with a status of 500 or more, at
// the error level. It logs a refusal with a lower status at the info level, if
// it has an Err. If the client ends the stream, Handler logs that at the debug
// level.
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
				level, message = slog.LevelDebug, "sse: a stream was cut off: its client stopped reading"
			case ended:
				level, message = slog.LevelDebug, "sse: a stream ended with its request"
			}
			o.Logger.Log(r.Context(), level, message, "method", r.Method, "path", r.URL.Path, "error", err)
		})
	})
}

// logRefusal logs the details that the client does not get.
func logRefusal(r *http.Request, logger *slog.Logger, e *StatusError) {
	level := slog.LevelInfo
	if e.status() >= 500 {
		level = slog.LevelError
	} else if e.Err == nil {
		return
	}
	logger.Log(r.Context(), level, "sse: a stream was refused", "method", r.Method, "path", r.URL.Path, "error", e)
}
