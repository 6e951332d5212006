package httpapi

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"

	"example.com/tidings/hub"
	"example.com/tidings/internal/problem"
)

// defaultTopic is what a stream is of that names no topic: the seed's feed.
const defaultTopic = "messages"

// serveEvents answers GET /events.
func (a *api) serveEvents(w http.ResponseWriter, r *http.Request, _, _ string) {
	if sub := a.subscribe(w, r); sub != nil {
		a.hub.ServeEvents(w, r, *sub)
	}
}

// subscribe returns the subscription that a request asks for, or answers the request and
// returns nil.
func (a *api) subscribe(w http.ResponseWriter, r *http.Request) *hub.Subscription {
	q, refusal := parseQuery(r)
	if refusal != nil {
		refusal.ServeHTTP(w, r)
		return nil
	}
	sub, filters, refusal := subscription(q)
	if refusal != nil {
		refusal.ServeHTTP(w, r)
		return nil
	}
	if refusal := a.authorize(r, Access{Action: Subscribe, Filters: filters}); refusal != nil {
		refusal.ServeHTTP(w, r)
		return nil
	}
	sub.Refuse = a.refuseEvents
	return &sub
}

// subscription returns what the parameters of a stream ask for.
func subscription(q url.Values) (sub hub.Subscription, filters []hub.Filter, refusal *problem.Problem) {
	sub.Topics = q["topic"]
	if len(sub.Topics) == 0 {
		sub.Topics = []string{defaultTopic}
	}
	if n := len(sub.Topics); n > hub.MaxFilters {
		return sub, nil, problem.InvalidFilter.Withf("A stream has up to %d topics and filters, and this one %d. Use wildcards, or several streams.", hub.MaxFilters, n).About("topic")
	}
	filters, err := hub.ParseFilters(sub.Topics...)
	if err != nil {
		return sub, nil, of("topic", err)
	}
	if sub.From, refusal = begin(q); refusal != nil {
		return sub, nil, refusal
	}
	lag, refusal := single(q, "lag", problem.InvalidLag)
	if refusal != nil {
		return sub, nil, refusal
	}
	if sub.Lag, err = hub.ParseLag(lag); err != nil {
		return sub, nil, of("lag", err)
	}
	format, refusal := single(q, "format", problem.InvalidFormat)
	if refusal != nil {
		return sub, nil, refusal
	}
	if sub.Format, err = hub.ParseFormat(format); err != nil {
		return sub, nil, of("format", err)
	}
	return sub, filters, nil
}

// begin returns where a stream begins that has no Last-Event-ID.
func begin(q url.Values) (from hub.From, refusal *problem.Problem) {
	given, refusal := single(q, "from", problem.InvalidFrom)
	if refusal != nil {
		return from, refusal
	}
	last, refusal := single(q, "lastEventId", problem.InvalidID)
	if refusal != nil {
		return from, refusal
	}
	switch {
	case last != "" && given != "":
		return from, problem.InvalidFrom.With("Both from and lastEventId say where to begin. Give one of them.").About("from")
	case last != "":
		id, err := hub.ParsePosition(last)
		if err != nil {
			return from, of("lastEventId", err)
		}
		return hub.FromPosition(id), nil
	}
	from, err := hub.ParseFrom(given)
	if err != nil {
		return from, of("from", err)
	}
	return from, nil
}

// refuseEvents answers where a stream that was asked for rightly cannot begin. An
// EventSource is told to come back, whatever the reason: it would take any status
// but 200 for final (WHATWG HTML 9.2.3).
func (a *api) refuseEvents(w http.ResponseWriter, r *http.Request, err error) {
	if p := invalid(err); p != nil {
		p.ServeHTTP(w, r)
		return
	}
	if !errors.Is(err, hub.ErrUnavailable) && !errors.Is(err, hub.ErrClosed) && r.Context().Err() == nil {
		a.opts.Logger.ErrorContext(r.Context(), "httpapi: a stream could not begin", "error", err)
	}
	if hub.AcceptsEvents(r) {
		a.hub.ServeUnavailable(w, r)
		return
	}
	const soonest, spread = 2, 6 // seconds, so that not all come back at once
	problem.Unavailable.With("The server is stopping, has as many streams as it takes, or cannot read its log. Try again later.").
		Set("Retry-After", strconv.Itoa(soonest+rand.N(spread+1))).ServeHTTP(w, r)
}
