package httpapi

import (
	"errors"
	"net/http"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/problem"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// history is the JSON of GET /topics/{topic}/events.
type history struct {
	Gap    *gap              `json:"gap,omitempty"` // before the first event
	Events []hub.Event       `json:"events"`
	Next   eventlog.Position `json:"next"` // the "after" of the next page, and a Last-Event-ID
	More   bool              `json:"more"` // the next page has events now
}

// A gap has the members of the event tidings.gap.
type gap struct {
	Reason string `json:"reason"`
	After  string `json:"after,omitempty"`
	Next   string `json:"next"`
	Missed uint64 `json:"missed,omitempty"`
}

// showHistory answers GET /topics/{topic}/events.
func (a *api) showHistory(w http.ResponseWriter, r *http.Request, topic, _ string) error {
	q, err := parseQuery(r, "after", "limit")
	if err != nil {
		return err
	}
	given, err := single(q, "after", problem.InvalidID)
	var after eventlog.Position
	if err == nil && given != "" {
		after, err = parsePosition("after", given)
	}
	if err != nil {
		return err
	}
	limit, err := parseLimit(q)
	if err != nil {
		return err
	}
	if err := a.checkReadable(r, topic); err != nil {
		return err
	}
	page, err := a.hub.History(r.Context(), topics.MustFilters(topic), after, limit)
	if err != nil {
		return a.unread(r, err)
	}
	answer := history{Events: page.Events, Next: page.Next, More: page.More}
	if answer.Events == nil {
		answer.Events = []hub.Event{} // [] in JSON, not null
	}
	if g := page.Gap; g != nil {
		answer.Gap = &gap{g.Reason, g.After, g.Next, g.Missed}
	}
	answerJSON(w, answer)
	return nil
}

// goneBecause says what happened to an event, by the reason of a NotFoundError.
var goneBecause = map[string]string{
	sse.GapExpired: "has expired",
	sse.GapRemoved: "was erased",
	sse.GapLost:    "was lost, because a file was damaged or the power failed",
}

// showEvent answers GET /topics/{topic}/events/{id}.
func (a *api) showEvent(w http.ResponseWriter, r *http.Request, topic, id string) error {
	position, err := parsePosition("id", id)
	if err != nil {
		return err
	}
	if err := a.checkReadable(r, topic); err != nil {
		return err
	}
	event, err := a.hub.Event(r.Context(), topic, position)
	if gone, ok := errors.AsType[*eventlog.NotFoundError](err); ok {
		return problem.EventNotFound.Withf("The event with this id %s.", goneBecause[gone.Reason]).Because(gone.Reason)
	}
	if errors.Is(err, eventlog.ErrNotFound) {
		return problem.EventNotFound.Withf("The topic %s has no event with this id.", topic)
	}
	if err != nil {
		return a.unread(r, err)
	}
	answerJSON(w, event)
	return nil
}
