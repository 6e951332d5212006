package httpapi

import (
	"errors"
	"net/http"

	"example.com/tidings/hub"
	"example.com/tidings/internal/problem"
)

// history is the JSON of GET /topics/{topic}/events.
type history struct {
	Gap    *gap        `json:"gap,omitempty"` // before the first event
	Events []hub.Event `json:"events"`
	Next   string      `json:"next"` // the "after" of the next page, and a Last-Event-ID
	More   bool        `json:"more"` // the next page has events now
}

// A gap has the members of the event tidings.gap.
type gap struct {
	Reason string `json:"reason"`
	After  string `json:"after,omitempty"`
	Next   string `json:"next"`
	Missed uint64 `json:"missed,omitempty"`
}

// showHistory answers GET /topics/{topic}/events.
func (a *api) showHistory(w http.ResponseWriter, r *http.Request, topic, _ string) {
	q, refusal := parseQuery(r)
	if refusal != nil {
		refusal.ServeHTTP(w, r)
		return
	}
	given, refusal := single(q, "after", problem.InvalidID)
	var after hub.Position
	if refusal == nil && given != "" {
		var err error
		if after, err = hub.ParsePosition(given); err != nil {
			refusal = of("after", err)
		}
	}
	if refusal != nil {
		refusal.ServeHTTP(w, r)
		return
	}
	limit, refusal := parseLimit(q)
	if refusal != nil {
		refusal.ServeHTTP(w, r)
		return
	}
	if !a.mayRead(w, r, topic) {
		return
	}
	filters, err := hub.ParseFilters(topic)
	if err != nil {
		invalid(err).ServeHTTP(w, r)
		return
	}
	page, err := a.hub.History(r.Context(), filters, after, limit)
	if err != nil {
		a.unread(r, err).ServeHTTP(w, r)
		return
	}
	answer := history{Events: page.Events, Next: page.Next.String(), More: page.More}
	if answer.Events == nil {
		answer.Events = []hub.Event{} // [] in JSON, not null
	}
	if g := page.Gap; g != nil {
		answer.Gap = &gap{g.Reason, g.After, g.Next, g.Missed}
	}
	answerJSON(w, answer)
}

// showEvent answers GET /topics/{topic}/events/{id}.
func (a *api) showEvent(w http.ResponseWriter, r *http.Request, topic, id string) {
	position, err := hub.ParsePosition(id)
	if err != nil {
		invalid(err).ServeHTTP(w, r)
		return
	}
	if !a.mayRead(w, r, topic) {
		return
	}
	event, err := a.hub.Event(r.Context(), topic, position)
	switch {
	case errors.Is(err, hub.ErrNotFound):
		problem.EventNotFound.Withf("The topic %s has no event with this id: it is no longer retained, or never was one.", topic).ServeHTTP(w, r)
	case err != nil:
		a.unread(r, err).ServeHTTP(w, r)
	default:
		answerJSON(w, event)
	}
}
