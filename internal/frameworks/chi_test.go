package frameworks

import (
	"bytes"
	"net/http"
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

var chiStacks = []stack{
	{name: "chi", mount: chiWith()},
	{name: "chi: RequestID, RealIP, Logger, Recoverer", mount: mountChi, breaks: map[promise]string{
		headHeaders: "the route is for GET",
	}},
	{name: "chi: RequestID to URLFormat", mount: chiWith(chiEdges...)},
	{name: "chi: Timeout, Throttle", mount: chiWith(middleware.Timeout(time.Hour), middleware.Throttle(10))},
	{name: "chi: WrapResponseWriter with Tee", mount: chiWith(chiTee)},
	{name: "chi: Compress(5)", mount: chiWith(middleware.Compress(5))},
	{name: "chi: Compress(5, text/event-stream)", mount: chiWith(middleware.Compress(5, "text/event-stream")), compresses: true},
	{name: "chi: all of them", mount: chiWith(append(chiEdges, middleware.Logger, middleware.Recoverer,
		middleware.Timeout(time.Hour), middleware.Throttle(10), chiTee, middleware.Compress(5, "text/*"))...), compresses: true},
}
