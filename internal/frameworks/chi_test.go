package frameworks

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

func mountChi(events http.Handler) http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.RequestID, middleware.RealIP, middleware.Logger, middleware.Recoverer)
	r.Method(http.MethodGet, "/events", events)
	return r
}

// chiWith mounts for all methods, behind the middlewares.
func chiWith(middlewares ...func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(events http.Handler) http.Handler {
		r := chi.NewRouter()
		r.Use(middlewares...)
		r.Handle("/events", events)
		return r
	}
}

// chiTimeout ends the request's context after a minute.
func chiTimeout(events http.Handler) http.Handler {
	return chiWith(middleware.Timeout(time.Minute))(events)
}

// chiTee copies what the handler writes.
func chiTee(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		ww.Tee(new(bytes.Buffer))
		next.ServeHTTP(ww, r)
	})
}

var chiEdges = []func(http.Handler) http.Handler{
	middleware.RequestID, middleware.RealIP, middleware.CleanPath, middleware.StripSlashes, middleware.GetHead,
	middleware.Heartbeat("/ping"), middleware.NoCache, middleware.AllowContentType("application/json"),
	middleware.ContentCharset("utf-8", ""), middleware.SetHeader("X-From", "chi"), middleware.RequestSize(1 << 20),
	middleware.WithValue("key", "value"), middleware.URLFormat,
}

var chiCompressBreaks = map[promise]string{
	headersThrough: flushesOnlyFlushers,
}

var chiStacks = []stack{
	{name: "chi", mount: chiWith()},
	{name: "chi: RequestID, RealIP, Logger, Recoverer", mount: mountChi, breaks: onlyGET},
	{name: "chi: RequestID to URLFormat", mount: chiWith(chiEdges...)},
	{name: "chi: Timeout, Throttle", mount: chiWith(middleware.Timeout(time.Hour), middleware.Throttle(10))},
	{name: "chi: WrapResponseWriter with Tee", mount: chiWith(chiTee)},
	{name: "chi: Compress(5)", mount: chiWith(middleware.Compress(5)), breaks: chiCompressBreaks},
	{name: "chi: Compress(5, text/event-stream)", mount: chiWith(middleware.Compress(5, "text/event-stream")), compresses: true, breaks: chiCompressBreaks},
	{name: "chi: all of them", mount: chiWith(append(chiEdges, middleware.Logger, middleware.Recoverer,
		middleware.Timeout(time.Hour), middleware.Throttle(10), chiTee, middleware.Compress(5, "text/*"))...), compresses: true, breaks: chiCompressBreaks},
}

// Throttle counts a stream as a request for as long as it is open.
func TestChiThrottleCountsOpenStreams(t *testing.T) {
	each(t, ways, func(t *testing.T, y way) {
		site := newSite(t, y, chiWith(middleware.Throttle(1))(events(waiting("1"), nil)), nil)
		site.open().want("1")
		res, _, err := site.do("GET", "/events")
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusTooManyRequests {
			t.Errorf("status %d for the second stream", res.StatusCode)
		}
	})
}
