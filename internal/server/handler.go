package server

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/request"
)

// A route has the handlers of one path.
type route struct {
	methods map[string]http.Handler // the handler of GET also answers HEAD
	api     http.Handler            // if not nil, answers every method instead
	private bool                    // other sites may not even send GET
}

// apiMethods are the methods of all API routes together. A route answers 405 to a method
// that it lacks. A preflight allows sharedMethods.
const (
	apiMethods    = "GET, HEAD, POST"
	sharedMethods = apiMethods + ", PUT, DELETE"
)

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

// A site serves a hub: the API, the chat example's route and the page, or what the operator has.
type site struct {
	*Server
	hosts  *hostPolicy
	hub    *hub.Hub
	api    http.Handler     // nil without the API
	routes map[string]route // other routes, by path
	probes map[string]http.Handler
	absent string // what is said of any other path
}

// Handler returns an http.Handler that serves h, without listening. It accepts only
// the host names of loopback until Listen binds another address.
func (s *Server) Handler(h *hub.Hub) http.Handler {
	s.conns.hub = h
	st := &site{
		Server: s,
		hosts:  &s.hosts,
		hub:    h,
		api: httpapi.New(h, &httpapi.Options{
			Authorize:    s.cfg.Authorize,
			MaxMessage:   s.cfg.MaxMessage,
			DefaultTopic: s.cfg.DefaultTopic,
			Logger:       s.log,
		}),
		routes: map[string]route{},
		probes: probes(h),
		absent: "There is nothing at this path. The page is at /, and streams are at /events. Post messages to /messages or /topics/TOPIC.",
	}
	st.routes["/messages"] = route{methods: map[string]http.Handler{http.MethodPost: errorHandler(st.postMessage)}}
	if s.cfg.Auth != nil {
		st.routes["/session"] = route{private: true, methods: map[string]http.Handler{
			http.MethodPost: errorHandler(s.beginSession), http.MethodGet: errorHandler(s.showSession), http.MethodDelete: errorHandler(s.endSession),
		}}
	}
	for path, a := range s.assets {
		st.routes[path] = route{methods: map[string]http.Handler{http.MethodGet: a}}
	}
	return s.logged(http.HandlerFunc(st.inTurn))
}

// inTurn answers a request, that of a read over HTTP/2 in its turn.
func (s *site) inTurn(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 2 && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		s.conns.early.serveHTTP(s.route, w, r)
		return
	}
	s.route(w, r)
}

// find returns the route of a path. The whole API is private: pages of other sites
// cannot read an answer, but could open many streams or make the server read history.
func (s *site) find(path string) (route, bool) {
	if rt, ok := s.routes[path]; ok {
		return rt, true
	}
	switch {
	case s.api == nil:
	case path == "/events", path == "/batch", path == "/topics", strings.HasPrefix(path, "/topics/"), strings.HasPrefix(path, "/subjects/"):
		return route{api: s.api, private: true}, true
	}
	return route{}, false
}

func (s *site) route(w http.ResponseWriter, r *http.Request) {
	if p := s.probes[r.URL.Path]; p != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		p.ServeHTTP(w, r)
		return
	}
	handler, err := s.handlerOf(w.Header(), r)
	if err != nil {
		request.Refuse(w, r, err.(http.Handler))
		return
	}
	if r.URL.Path == "/events" {
		defer s.conns.streaming(r)()
		var cancel context.CancelFunc
		r, cancel = s.conns.cancellable(r)
		defer cancel()
	}
	r.Body = s.conns.body(r)
	handler.ServeHTTP(w, r)
}

// The values of headers that every response has. All responses share them: nobody changes a
// value in place, and Header.Add copies it.
var (
	nosniff    = []string{"nosniff"}
	sameOrigin = []string{"same-origin"}
	varyOrigin = []string{"Origin"}
)

// handlerOf returns the handler of a request, or a refusal, which is an http.Handler. It
// is a function of its own because its stack frame is large: a stream must not hold it
// while it runs.
func (s *site) handlerOf(h http.Header, r *http.Request) (http.Handler, error) {
	h["X-Content-Type-Options"] = nosniff
	h["Cross-Origin-Resource-Policy"] = sameOrigin
	h["Vary"] = varyOrigin
	if n := fields(r.Header); n > maxFields {
		return nil, problem.TooManyFields.Withf("The request has %d header fields. The server takes %d. Leave some out.", n, maxFields).Set("Connection", "close")
	}
	if !s.hosts.allows(r.Host) {
		return nil, s.hosts.refuse(r)
	}
	s.origins.share(h, r)
	rt, ok := s.find(r.URL.Path)
	if s.origins.foreign(r, rt.private) {
		return nil, s.origins.refuse(r)
	}
	if !ok {
		return nil, problem.NotFound.With(s.absent)
	}
	if preflight(r) {
		methods := rt.allow()
		if rt.api != nil {
			methods = sharedMethods
		}
		return s.origins.preflightHandler(r, methods)
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	handler, ok := rt.api, rt.api != nil
	if !ok {
		handler, ok = rt.methods[method]
	}
	if !ok {
		return nil, problem.MethodNotAllowed.Withf("%s answers to %s only.", r.URL.Path, rt.allow()).Set("Allow", rt.allow())
	}
	if method == http.MethodGet {
		if err := request.CheckNoBody(r); err != nil {
			return nil, err
		}
	}
	return handler, nil
}

// maxFields is how many header fields a request may have. In memory, small ones take twenty
// times their size.
const maxFields = 200

// fields returns how many fields a header has.
func fields(h http.Header) (n int) {
	for _, values := range h {
		n += len(values)
	}
	return n
}
