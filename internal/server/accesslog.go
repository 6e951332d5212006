package server

import (
	"log/slog"
	"net/http"
	"time"
)

// logged logs each request at its end, also that of a stream, at the debug
// level.
func (s *Server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.log.Enabled(r.Context(), slog.LevelDebug) {
			next.ServeHTTP(w, r)
			return
		}
		s.serveLogged(next, w, r)
	})
}

// serveLogged calls next and then logs the request.
func (s *Server) serveLogged(next http.Handler, w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rec := &recorder{ResponseWriter: w}
	defer func() {
		if rec.status == 0 {
			rec.status = http.StatusOK // a stream that was flushed but not written to
		}
		s.log.DebugContext(r.Context(), "request",
			"remote", r.RemoteAddr, "proto", r.Proto, "host", r.Host,
			"method", r.Method, "path", r.URL.Path,
			"status", rec.status, "bytes", rec.bytes, "duration", time.Since(start))
	}()
	next.ServeHTTP(rec, r)
}

// A recorder notes the status and size of a response. http.ResponseController
// finds other methods, such as Flush, through Unwrap.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) WriteHeader(status int) {
	if r.status < http.StatusOK {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status < http.StatusOK {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}
