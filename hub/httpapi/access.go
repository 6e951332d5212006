package httpapi

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"example.com/tidings/hub"
	"example.com/tidings/internal/problem"
	"example.com/tidings/sse"
)

// An Action is what a client wants to do.
type Action int

// The actions. The zero Action is none of them.
const (
	Publish    Action = iota + 1 // to store messages
	Subscribe                    // to receive messages, retained ones among them
	Read                         // to look at topics and at what is retained
	Administer                   // what is the operator's; none of the routes here asks for it
)

// String returns the action's name in lower case.
func (a Action) String() string {
	names := [...]string{"", "publish", "subscribe", "read", "administer"}
	if a < Publish || int(a) >= len(names) {
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
	Filters []hub.Filter
}

// Within reports whether the allowed filters cover all topics and filters of the
// access: whether nothing that it reaches lies outside of them. A filter must be
// covered by one of the allowed ones, see [hub.Filter.Covers].
func (a Access) Within(allowed ...hub.Filter) bool {
	for _, topic := range a.Topics {
		if !slices.ContainsFunc(allowed, func(f hub.Filter) bool { return f.Match(topic) }) {
			return false
		}
	}
	for _, filter := range a.Filters {
		if !slices.ContainsFunc(allowed, func(f hub.Filter) bool { return f.Covers(filter) }) {
			return false
		}
	}
	return len(a.Topics)+len(a.Filters) > 0
}

// authorize returns how a request is refused, or nil.
func (a *api) authorize(r *http.Request, access Access) http.Handler {
	if a.opts.Authorize == nil {
		return nil
	}
	err := a.opts.Authorize(r, access)
	if err == nil {
		return nil
	}
	if refusal, ok := errors.AsType[*sse.StatusError](err); ok && refusal.Status < 500 && refusal.Err == nil {
		return refusal
	}
	a.opts.Logger.InfoContext(r.Context(), "httpapi: a request was refused",
		"method", r.Method, "path", r.URL.Path, "action", access.Action, "error", err)
	if refusal, ok := errors.AsType[interface {
		error
		http.Handler
	}](err); ok {
		return refusal
	}
	return problem.Forbidden.Withf("You may not %s here, or not all that you ask for.", access.Action)
}
