package httpapi

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"example.com/tidings/hub"
	"example.com/tidings/internal/problem"
)

// Options configure [New]. The zero value holds the defaults.
type Options struct {
	// Authorize is asked once for each request, after its topics and filters were
	// found to be valid and before anything is read from the log or stored: for
	// POST /topics/{topic} before the body is read, for POST /batch, which has the
	// topics in its body, after. r says who asks, access for what. It may be
	// called concurrently.
	//
	// An error refuses the request. One that is an http.Handler, as
	// [*sse.StatusError] is, answers for itself; any other becomes a 403 that
	// does not show its text. It is logged, unless it is a StatusError below 500
	// without an Err.
	//
	// A stream that was allowed once goes on until it ends. Nil allows
	// everything to everyone.
	Authorize func(r *http.Request, access Access) error

	// MaxMessage bounds the data of one message, in bytes. 0 means 512 KiB. It is
	// of use up to the hub's own bound.
	MaxMessage int

	// MaxBatch bounds the body of POST /batch, in bytes. 0 means 16 MiB. One
	// batch has at most [MaxBatchMessages].
	MaxBatch int

	// Logger is where the API logs what no client is told. Nil means
	// slog.Default().
	Logger *slog.Logger
}

// MaxBatchMessages is how many messages a batch may have.
const MaxBatchMessages = 10_000

func (o *Options) cloneWithDefaults() Options {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.MaxMessage == 0 {
		opts.MaxMessage = 512 << 10
	}
	if opts.MaxBatch == 0 {
		opts.MaxBatch = 16 << 20
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return opts
}

// api is the handler.
type api struct {
	hub  *hub.Hub
	opts Options
}

// New returns the HTTP API of h. Nil options are the defaults.
//
// The handler judges by r.URL.Path. Under a prefix it is mounted with
// http.StripPrefix, which chi's Mount needs too; a Location has the prefix.
func New(h *hub.Hub, opts *Options) http.Handler {
	return &api{hub: h, opts: opts.cloneWithDefaults()}
}

// A handler answers a request for what stands at a path: a topic, where the path
// has one, and the id of an event.
type handler func(a *api, w http.ResponseWriter, r *http.Request, topic, id string)

// A route is what stands at one path. HEAD is answered where GET is.
type route struct {
	get, post handler
}

// The routes.
var (
	eventsRoute  = route{get: (*api).serveEvents}
	batchRoute   = route{post: (*api).publishBatch}
	topicsRoute  = route{get: (*api).listTopics}
	topicRoute   = route{get: (*api).showTopic, post: (*api).publish}
	historyRoute = route{get: (*api).showHistory}
	eventRoute   = route{get: (*api).showEvent}
)

func (rt route) allow() string {
	switch {
	case rt.post == nil:
		return "GET, HEAD"
	case rt.get == nil:
		return "POST"
	}
	return "GET, HEAD, POST"
}

// find returns the route at a path, with the topic and the id that stand in it.
func find(u *url.URL) (rt route, topic, id string, ok bool) {
	// A slash that is encoded is part of a topic, which then is not valid, and
	// does not end it.
	path, unescape := u.Path, func(s string) string { return s }
	if u.RawPath != "" {
		path, unescape = u.EscapedPath(), func(s string) string {
			if raw, err := url.PathUnescape(s); err == nil {
				return raw
			}
			return s
		}
	}
	switch path {
	case "/events":
		return eventsRoute, "", "", true
	case "/batch":
		return batchRoute, "", "", true
	case "/topics":
		return topicsRoute, "", "", true
	}
	rest, ok := strings.CutPrefix(path, "/topics/")
	if !ok {
		return route{}, "", "", false
	}
	topic, rest, more := strings.Cut(rest, "/")
	topic = unescape(topic)
	if !more {
		return topicRoute, topic, "", true
	}
	if rest == "events" {
		return historyRoute, topic, "", true
	}
	id, ok = strings.CutPrefix(rest, "events/")
	if !ok || strings.Contains(id, "/") {
		return route{}, "", "", false
	}
	return eventRoute, topic, unescape(id), true
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if handle, topic, id := a.handlerOf(w, r); handle != nil {
		handle(a, w, r, topic, id)
	}
}

// handlerOf returns the handler of a request with the topic and the id of its path, or
// answers the request and returns nil. Its frame is large, and does not stay on the stack
// while a stream goes on.
func (a *api) handlerOf(w http.ResponseWriter, r *http.Request) (handle handler, topic, id string) {
	rt, topic, id, ok := find(r.URL)
	if !ok {
		problem.NotFound.With("There is nothing at this path. Streams are at /events, topics at /topics, and messages are published to /topics/TOPIC or /batch.").ServeHTTP(w, r)
		return nil, "", ""
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		handle = rt.get
	case http.MethodPost:
		handle = rt.post
	}
	switch {
	case handle == nil:
		problem.MethodNotAllowed.Withf("%s answers to %s only.", r.URL.Path, rt.allow()).Set("Allow", rt.allow()).ServeHTTP(w, r)
	case r.Method != http.MethodPost && r.ContentLength != 0:
		// RFC 9110, section 9.3.1. A stream would wait for it, or not notice that
		// its client leaves.
		problem.UnexpectedBody.Withf("A %s request has no body here. Send it without one.", r.Method).
			Set("Connection", "close").ServeHTTP(w, r)
	default:
		return handle, topic, id
	}
	return nil, "", ""
}
