package httpapi

import (
	"errors"
	"net/http"
	"strconv"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/problem"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// The bounds of a page of history, and how many of its events are read at once.
const (
	historyBytes = 4 << 20 // of data
	eventsAtOnce = 256
)

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
	if _, err := a.checkReadable(r, topic); err != nil {
		return err
	}
	return a.answerHistory(w, r, topics.MustFilters(topic), after, limit)
}

// answerHistory answers with a page of history. Its members are gap, if events are missing
// before the first one, events, next, which is the "after" of the next page and a
// Last-Event-ID, and more: whether the next page has events now.
func (a *api) answerHistory(w http.ResponseWriter, r *http.Request, filters []topics.Filter, after eventlog.Position, limit int) error {
	page, err := a.hub.History(r.Context(), filters, after, min(limit, eventsAtOnce))
	if err != nil {
		return a.unread(r, err)
	}
	out := a.answer(w, r, http.StatusOK)
	defer out.release()
	size := pageSize(page)
	if !out.hold(size) {
		return tooMany()
	}
	out.take()
	out.raw("{")
	if g := page.Gap; g != nil {
		out.raw(`"gap":`)
		out.json(gap{g.Reason, g.After, g.Next, g.Missed})
		out.raw(",")
	}
	out.raw(`"events":[`)
	for n, bytes := 0, 0; ; {
		for i := range page.Events {
			if n > 0 {
				out.raw(",")
			}
			out.event(&page.Events[i])
			n++
		}
		bytes += size
		if !page.More || n >= limit || bytes >= historyBytes || out.ended {
			break
		}
		out.yield()
		next, err := a.hub.History(budget.Continue(r.Context()), filters, page.Next, min(limit-n, eventsAtOnce))
		if err != nil && !out.begun {
			return a.unread(r, err)
		}
		if err != nil {
			a.unread(r, err) // logs it
			out.breakOff()
		}
		size = pageSize(next)
		if next.Gap != nil || !out.hold(size) {
			break // the next page begins here
		}
		page = next
		out.take()
	}
	out.raw(`],"next":`)
	out.text(page.Next.String())
	out.raw(`,"more":` + strconv.FormatBool(page.More) + "}")
	out.end()
	return nil
}

// pageSize returns about how many bytes a page takes.
func pageSize(page hub.Page) (n int) {
	for i := range page.Events {
		n += eventSize(&page.Events[i])
	}
	return n
}

// eventSize returns about how many bytes an event takes.
func eventSize(e *hub.Event) int { return 200 + len(e.Topic) + len(e.Type) + len(e.Data) }

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
	if _, err := a.checkReadable(r, topic); err != nil {
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
	out := a.answer(w, r, http.StatusOK)
	defer out.release()
	if !out.hold(eventSize(&event)) {
		return tooMany()
	}
	if len(event.Data) > pieceBytes {
		out.take()
	}
	out.event(&event)
	out.end()
	return nil
}
