package server

import (
	"iter"
	"maps"
	"net/http"
	"slices"
	"strings"

	"example.com/tidings/sse"
)

// A route is what stands at one path.
type route struct {
	methods map[string]http.Handler // GET answers HEAD, too
	private bool                    // GET, too, is only for pages that may use the server
}

// allow lists the route's methods, as in an Allow header.
func (rt *route) allow() string {
	methods := slices.Sorted(maps.Keys(rt.methods))
	if i := slices.Index(methods, http.MethodGet); i >= 0 {
		methods = slices.Insert(methods, i+1, http.MethodHead)
	}
	return strings.Join(methods, ", ")
}

func (s *Server) newRoutes() map[string]route {
	routes := map[string]route{
		"/messages": {methods: map[string]http.Handler{http.MethodPost: http.HandlerFunc(s.postMessage)}},
		"/events":   {methods: map[string]http.Handler{http.MethodGet: s.events()}, private: true},
	}
	for path, a := range pageAssets() {
		routes[path] = route{methods: map[string]http.Handler{http.MethodGet: a}}
	}
	return routes
}

// Handler returns the server as an http.Handler, without listening. It takes
// itself to be on loopback until Listen has bound another address.
func (s *Server) Handler() http.Handler { return s.logged(http.HandlerFunc(s.route)) }

func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Vary", "Origin")
	if !s.hosts.allows(r.Host) {
		s.hosts.refuse(r).ServeHTTP(w, r)
		return
	}
	s.origins.share(h, r)
	rt, ok := s.routes[r.URL.Path]
	if s.origins.foreign(r, rt.private) {
		s.origins.refuse(r).ServeHTTP(w, r)
		return
	}
	if !ok {
		notFound.with("There is nothing at this path. The page is at /, the stream at /events, and messages are posted to /messages.").ServeHTTP(w, r)
		return
	}
	if preflight(r) {
		s.origins.answerPreflight(w, r, rt.allow())
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if handler, ok := rt.methods[method]; ok {
		if method == http.MethodGet && r.ContentLength != 0 {
			// RFC 9110, section 9.3.1. A stream would wait for it, or not notice
			// that its client leaves.
			unexpectedBody.withf("A %s request has no body here. Send it without one.", r.Method).
				set("Connection", "close").ServeHTTP(w, r)
			return
		}
		handler.ServeHTTP(w, r)
		return
	}
	methodNotAllowed.withf("%s answers to %s only.", r.URL.Path, rt.allow()).set("Allow", rt.allow()).ServeHTTP(w, r)
}

// events answers with the feed as a stream.
func (s *Server) events() http.Handler {
	open := func(r *http.Request) (iter.Seq2[sse.Event, error], error) {
		events, err := s.feed.Subscribe(r.Context(), sse.LastEventID(r))
		if err != nil {
			s.log.ErrorContext(r.Context(), "a stream could not begin", "error", err)
			return nil, internalError.with("The feed cannot be read at the moment. Try again later; the server's log has the reason.")
		}
		s.log.DebugContext(r.Context(), "stream opened", "remote", r.RemoteAddr, "proto", r.Proto)
		return events, nil
	}
	return sse.Handler(open, &sse.ServeOptions{
		KeepAlive:      s.cfg.KeepAlive,
		KeepAliveEvent: sse.Event{Comment: "keep-alive"},
		WriteTimeout:   s.cfg.WriteTimeout,
		Logger:         s.log,
	})
}
