package server

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/internal/problem"
)

// A route is what stands at one path.
type route struct {
	methods map[string]http.Handler // GET answers HEAD, too
	api     http.Handler            // if not nil, answers every method instead
	private bool                    // GET, too, is only for pages that may use the server
}

// apiMethods are those of the API's routes together, for a preflight: what one of
// them lacks it answers with 405.
const apiMethods = "GET, HEAD, POST"

// allow lists the route's methods, as in an Allow header.
func (rt *route) allow() string {
	if rt.api != nil {
		return apiMethods
	}
	methods := slices.Sorted(maps.Keys(rt.methods))
	if i := slices.Index(methods, http.MethodGet); i >= 0 {
		methods = slices.Insert(methods, i+1, http.MethodHead)
	}
	return strings.Join(methods, ", ")
}

// A site is a hub as it is served: by the API, the seed's feed and the page.
type site struct {
	*Server
	hub    *hub.Hub
	api    http.Handler
	routes map[string]route // all others
}

// Handler returns the server of h as an http.Handler, without listening. It takes
// itself to be on loopback until Listen has bound another address.
func (s *Server) Handler(h *hub.Hub) http.Handler {
	st := &site{
		Server: s,
		hub:    h,
		api: httpapi.New(h, &httpapi.Options{
			Authorize:  s.cfg.Authorize,
			MaxMessage: s.cfg.MaxMessage,
			Logger:     s.log,
		}),
		routes: map[string]route{},
	}
	st.routes["/messages"] = route{methods: map[string]http.Handler{http.MethodPost: http.HandlerFunc(st.postMessage)}}
	st.routes["/metrics"] = route{methods: map[string]http.Handler{http.MethodGet: s.metrics(h)}, private: true}
	for path, a := range s.assets {
		st.routes[path] = route{methods: map[string]http.Handler{http.MethodGet: a}}
	}
	return s.logged(http.HandlerFunc(st.route))
}

// find returns what stands at a path. All of the API is private: other sites'
// pages could not read an answer, but hold streams open and have the history read.
func (s *site) find(path string) (route, bool) {
	if rt, ok := s.routes[path]; ok {
		return rt, true
	}
	switch {
	case path == "/events", path == "/batch", path == "/topics", strings.HasPrefix(path, "/topics/"):
		return route{api: s.api, private: true}, true
	}
	return route{}, false
}

func (s *site) route(w http.ResponseWriter, r *http.Request) {
	if handler := s.handlerOf(w, r); handler != nil {
		handler.ServeHTTP(w, r)
	}
}

// handlerOf returns the handler of a request, or answers the request and returns nil. Its
// frame is large, and does not stay on the stack while a stream goes on.
func (s *site) handlerOf(w http.ResponseWriter, r *http.Request) http.Handler {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Vary", "Origin")
	if !s.hosts.allows(r.Host) {
		s.hosts.refuse(r).ServeHTTP(w, r)
		return nil
	}
	s.origins.share(h, r)
	rt, ok := s.find(r.URL.Path)
	if s.origins.foreign(r, rt.private) {
		s.origins.refuse(r).ServeHTTP(w, r)
		return nil
	}
	if !ok {
		problem.NotFound.With("There is nothing at this path. The page is at /, streams are at /events, and messages are posted to /messages or /topics/TOPIC.").ServeHTTP(w, r)
		return nil
	}
	if preflight(r) {
		s.origins.answerPreflight(w, r, rt.allow())
		return nil
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	handler, ok := rt.api, rt.api != nil
	if !ok {
		handler, ok = rt.methods[method]
	}
	switch {
	case !ok:
		problem.MethodNotAllowed.Withf("%s answers to %s only.", r.URL.Path, rt.allow()).Set("Allow", rt.allow()).ServeHTTP(w, r)
	case method == http.MethodGet && r.ContentLength != 0:
		// RFC 9110, section 9.3.1. A stream would wait for it, or not notice that
		// its client leaves.
		problem.UnexpectedBody.Withf("A %s request has no body here. Send it without one.", r.Method).
			Set("Connection", "close").ServeHTTP(w, r)
	default:
		return handler
	}
	return nil
}
