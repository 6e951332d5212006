package httpapi

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/quote"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// serveEvents answers GET /events.
func (a *api) serveEvents(w http.ResponseWriter, r *http.Request, _, _ string) error {
	stream, err := a.stream(r)
	if err != nil {
		return err
	}
	stream.ServeHTTP(w, r)
	return nil
}

// stream returns the stream that a request asks for.
func (a *api) stream(r *http.Request) (http.Handler, error) {
	q, err := parseQuery(r, "format", "from", "lag", "lastEventId", "live", "topic")
	if err != nil {
		return nil, err
	}
	sub, err := a.subscription(q)
	if err != nil {
		return nil, err
	}
	sub.Authorized = time.Now()
	decision, err := a.authorize(r, Access{Action: ActionSubscribe, Filters: sub.Filters})
	if err != nil {
		return nil, err
	}
	sub.Subject, sub.Issued, sub.Until, sub.NoEnd = decision.Subject, decision.Issued, decision.Until, decision.NoEnd
	stream, err := a.hub.EventsHandler(r, sub)
	if err != nil {
		return nil, a.noStream(r, err)
	}
	return stream, nil
}

// filters returns the filters of the parameter topic of a stream, or of a history.
func (a *api) filters(q url.Values) ([]topics.Filter, error) {
	patterns := q["topic"]
	if len(patterns) == 0 {
		if a.opts.DefaultTopic == "" {
			return nil, problem.InvalidFilter.With("The request has no topic. Name one or more, as in /events?topic=orders.*.").About("topic")
		}
		patterns = []string{a.opts.DefaultTopic}
	}
	if n := len(patterns); n > hub.MaxFilters {
		return nil, problem.InvalidFilter.Withf("A stream or a history has up to %d topics and filters, and this one %d. Use wildcards, or several streams.", hub.MaxFilters, n).About("topic")
	}
	filters, err := topics.ParseFilters(patterns...)
	if err != nil {
		return nil, badTopic(problem.InvalidFilter, "topic", err)
	}
	for _, f := range filters {
		if n := f.Stars(); n > hub.MaxStars {
			return nil, problem.FilterTooCostly.Withf("A filter has up to %d tokens *, and %s has %d. "+
				"Use a final ** for the last ones, or several filters with a name in place of some.", hub.MaxStars, quote.Short(f.String()), n).About("topic")
		}
	}
	return filters, nil
}

// subscription returns the subscription that the parameters of a stream ask for.
func (a *api) subscription(q url.Values) (sub hub.Subscription, err error) {
	if sub.Filters, err = a.filters(q); err != nil {
		return sub, err
	}
	if sub.From, err = parse(q, "from", problem.InvalidFrom, hub.ParseFrom); err != nil {
		return sub, err
	}
	if sub.Lag, err = parse(q, "lag", problem.InvalidLag, hub.ParseLag); err != nil {
		return sub, err
	}
	if sub.Format, err = parse(q, "format", problem.InvalidFormat, hub.ParseFormat); err != nil {
		return sub, err
	}
	sub.Live, err = parseLive(q)
	return sub, err
}

// parseLive returns the parameter live.
func parseLive(q url.Values) (bool, error) {
	s, err := single(q, "live", problem.InvalidLive)
	if err != nil || s == "" || s == "false" {
		return false, err
	}
	if s != "true" {
		return false, problem.InvalidLive.Withf("The live %s is not known: it is true or false.", quote.Short(s)).About("live")
	}
	return true, nil
}

// parse parses a parameter that may stand once.
func parse[T any](q url.Values, name string, kind problem.Type, parse func(string) (T, error)) (v T, err error) {
	s, err := single(q, name, kind)
	if err != nil {
		return v, err
	}
	if v, err = parse(s); err != nil {
		return v, problemOf(err)
	}
	return v, nil
}

// noStream returns the answer to a valid request for a stream that cannot begin.
func (a *api) noStream(r *http.Request, err error) error {
	if p := invalid(err); p != nil {
		return p
	}
	if _, ok := errors.AsType[*hub.EndError](err); ok { // since it was authorized
		return problem.Revoked()
	}
	if !errors.Is(err, hub.ErrUnavailable) && !errors.Is(err, hub.ErrBusy) && !errors.Is(err, eventlog.ErrClosed) && r.Context().Err() == nil {
		a.opts.Logger.ErrorContext(r.Context(), "httpapi: a stream could not begin", "error", err)
	}
	// An EventSource takes every status but 200 for final (WHATWG HTML 9.2.3).
	if sse.Accepts(r) {
		return retryLater{a.hub}
	}
	p := problem.Unavailable.With("The server is stopping, has as many streams or reads of its log as it takes, or cannot read its log. Try again later.").
		Set("Retry-After", a.hub.RetryAfter())
	if r.ProtoMajor == 1 { // over HTTP/2 it would end the connection's other streams, too
		p.Set("Connection", "close") // others may need the place
	}
	return p
}

// A retryLater tells an EventSource to come back.
type retryLater struct{ hub *hub.Hub }

func (retryLater) Error() string { return "httpapi: no stream can begin just now" }

func (l retryLater) ServeHTTP(w http.ResponseWriter, r *http.Request) { l.hub.ServeUnavailable(w, r) }
