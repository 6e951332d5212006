package httpapi

import (
	"cmp"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"example.com/tidings/hub"
	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/request"
)

// Options configure [New]. The zero value holds the defaults.
type Options struct {
	// Authorize is asked for each request, after its topics and filters were
	// found to be valid and before anything is read from the log or stored: for
	// POST /topics/{topic} before the body is read. For POST /batch, which has the
	// topics in its body, it is asked twice: before, with an Access that has none, and
	// after; if it then refuses, it is asked about one topic after the other, for the line. It is
	// asked again after the body of a message that has taken longer than a second. r says who asks,
	// access for what. It may be called concurrently.
	//
	// An error refuses the request. One that is an http.Handler, as
	// [*sse.StatusError] is, answers for itself; any other becomes a 403 that
	// does not show its text. It is logged, unless it is a StatusError below 500
	// without an Err.
	//
	// A stream that was allowed goes on until the end that the Decision names, or until
	// [hub.Hub.Disconnect] or [hub.Hub.Revoke] ends it. Nil allows everything to everyone.
	Authorize func(r *http.Request, access Access) (Decision, error)

	// MaxMessage bounds the data of one message, in bytes. 0 means 512 KiB. It is
	// of use up to the hub's own bound.
	MaxMessage int

	// MaxBatch bounds the body of POST /batch, in bytes. 0 means 16 MiB. One
	// batch has at most [MaxBatchMessages].
	MaxBatch int

	// DefaultTopic is the topic of a stream whose request names none. If it is empty, such
	// a request is refused.
	DefaultTopic string

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
	opts.MaxMessage = cmp.Or(opts.MaxMessage, 512<<10)
	opts.MaxBatch = cmp.Or(opts.MaxBatch, 16<<20)
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return opts
}

// api is the handler.
type api struct {
	hub     *hub.Hub
	budgets *budget.Budgets // of the hub
	opts    Options
}

// New returns the HTTP API of h. Nil options are the defaults.
//
// The handler judges by r.URL.Path. Under a prefix it is mounted with
// http.StripPrefix, which chi's Mount needs too; a Location has the prefix.
func New(h *hub.Hub, opts *Options) http.Handler {
	return &api{hub: h, budgets: budget.Of(h), opts: opts.cloneWithDefaults()}
}

// A handler answers a request, or returns an error that is an http.Handler. It gets the
// topic, or the subject, and the id of an event from the path, where that has them.
type handler func(a *api, w http.ResponseWriter, r *http.Request, topic, id string) error

// A route has the handlers of one path. That of GET answers HEAD, too.
type route struct {
	get, post, put, delete handler
}

// The routes.
var (
	eventsRoute  = route{get: (*api).serveEvents}
	batchRoute   = route{post: (*api).publishBatch}
	topicsRoute  = route{get: (*api).listTopics}
	topicRoute   = route{get: (*api).showTopic, post: (*api).publish}
	historyRoute = route{get: (*api).showHistory}
	eventRoute   = route{get: (*api).showEvent}

	// Of several topics.
	pagesRoute    = route{get: (*api).showPages}
	positionRoute = route{get: (*api).showPosition}

	// Of subjects. The topic is the subject.
	streamsRoute    = route{delete: (*api).disconnect}
	revocationRoute = route{put: (*api).revoke}
)

func (rt route) allow() string {
	var methods []string
	for _, m := range []struct {
		name   string
		handle handler
	}{{"GET, HEAD", rt.get}, {"POST", rt.post}, {"PUT", rt.put}, {"DELETE", rt.delete}} {
		if m.handle != nil {
			methods = append(methods, m.name)
		}
	}
	return strings.Join(methods, ", ")
}

// find returns the route at a path, with the topic and the id in the path.
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
	case "/history":
		return pagesRoute, "", "", true
	case "/position":
		return positionRoute, "", "", true
	}
	if subject, ok := strings.CutPrefix(path, "/subjects/"); ok {
		subject, what, _ := strings.Cut(subject, "/")
		switch what {
		case "streams":
			return streamsRoute, unescape(subject), "", true
		case "revocation":
			return revocationRoute, unescape(subject), "", true
		}
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
	handle, topic, id, err := handlerOf(r)
	if err == nil {
		err = handle(a, w, r, topic, id)
	}
	if err != nil {
		request.Refuse(w, r, err.(http.Handler))
	}
}

// handlerOf returns the handler of a request, with the topic and the id of its path, or why
// the request is refused. Its stack frame is large, and does not stay while a stream goes
// on.
func handlerOf(r *http.Request) (handle handler, topic, id string, err error) {
	rt, topic, id, ok := find(r.URL)
	if !ok {
		return nil, "", "", problem.NotFound.With("There is nothing at this path. Streams are at /events, topics at /topics, and messages are published to /topics/TOPIC or /batch.")
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		handle = rt.get
	case http.MethodPost:
		handle = rt.post
	case http.MethodPut:
		handle = rt.put
	case http.MethodDelete:
		handle = rt.delete
	}
	if handle == nil {
		return nil, "", "", problem.MethodNotAllowed.Withf("%s answers to %s only.", r.URL.Path, rt.allow()).Set("Allow", rt.allow())
	}
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		err = request.CheckNoBody(r)
	}
	return handle, topic, id, err
}
