package httpapi

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"

	"example.com/tidings/internal/problem"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// An Action is what a client wants to do.
type Action int

// The actions. The zero Action is none of them.
const (
	ActionPublish    Action = iota + 1 // store messages
	ActionSubscribe                    // receive messages, also retained ones
	ActionRead                         // list topics and read retained messages
	ActionAdminister                   // use what is the operator's: no route of this package asks for it
)

// String returns the action's name in lower case.
func (a Action) String() string {
	names := [...]string{"", "publish", "subscribe", "read", "administer"}
	if a < ActionPublish || int(a) >= len(names) {
		return "action " + strconv.Itoa(int(a))
	}
	return names[a]
}

// Access is what a request asks for. All of it must be allowed.
type Access struct {
	Action Action

	// Topics are those that are published to, or the one that is read; each is
	// valid, and named once.
	Topics []string

	// Filters are those of a subscription, or the one of a list of topics.
	Filters []topics.Filter
}

// Within reports whether the allowed filters cover all topics and filters of the
// access: whether nothing that it reaches lies outside of them. A filter must be
// covered by one of the allowed ones, see [topics.Filter.Covers].
func (a Access) Within(allowed ...topics.Filter) bool {
	for _, topic := range a.Topics {
		if !slices.ContainsFunc(allowed, func(f topics.Filter) bool { return f.Match(topic) }) {
			return false
		}
	}
	for _, filter := range a.Filters {
		if !slices.ContainsFunc(allowed, func(f topics.Filter) bool { return f.Covers(filter) }) {
			return false
		}
	}
	return len(a.Topics)+len(a.Filters) > 0
}

// authorize asks Options.Authorize. It returns how the request is refused, as an error that
// is an http.Handler, or nil.
func (a *api) authorize(r *http.Request, access Access) error {
	if a.opts.Authorize == nil {
		return nil
	}
	return Refusal(a.opts.Logger, r, access, a.opts.Authorize(r, access))
}

// Refusal returns what a request is answered with that [Options.Authorize] has refused with
// err: err itself if it is an http.Handler, and otherwise a 403 that does not show its
// text. It logs err, unless that is a [*sse.StatusError] below 500 without an Err. If err
// is nil, Refusal returns nil. It is for other routes that ask the same function.
func Refusal(logger *slog.Logger, r *http.Request, access Access, err error) error {
	if err == nil {
		return nil
	}
	if refusal, ok := errors.AsType[*sse.StatusError](err); ok && refusal.Status < 500 && refusal.Err == nil {
		return refusal
	}
	logger.InfoContext(r.Context(), "a request was refused",
		"method", r.Method, "path", r.URL.Path, "action", access.Action.String(), "error", err)
	if refusal, ok := errors.AsType[errorHandler](err); ok {
		return refusal
	}
	return problem.Forbidden.Withf("You may not %s here, or not all that you ask for.", access.Action)
}

// An errorHandler is an error that answers a request, as a [*problem.Problem] does.
type errorHandler interface {
	error
	http.Handler
}
