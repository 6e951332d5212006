package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/quote"
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
	after, err := parseBegin(q, "after")
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
	return a.answerHistory(w, r, a.oldestFirst(topics.MustFilters(topic)), after, limit)
}

// showPages answers GET /history. It needs what a stream of the same topics needs.
func (a *api) showPages(w http.ResponseWriter, r *http.Request, _, _ string) error {
	q, err := parseQuery(r, "after", "before", "limit", "order", "topic")
	if err != nil {
		return err
	}
	filters, err := a.filters(q)
	if err != nil {
		return err
	}
	order, err := single(q, "order", problem.InvalidOrder)
	if err != nil {
		return err
	}
	begin, other, read := "after", "before", a.oldestFirst(filters)
	switch order {
	case "", "asc":
	case "desc":
		begin, other, read = other, begin, a.newestFirst(filters)
	default:
		return problem.InvalidOrder.Withf("The order %s is not known: it is asc or desc.", quote.Short(order)).About("order")
	}
	if q.Get(other) != "" {
		return problem.InvalidQuery.Withf("A history that begins %s an id has the parameter %s. This one has %s: see the parameter order.", begin, begin, other).About(other)
	}
	id, err := parseBegin(q, begin)
	if err != nil {
		return err
	}
	limit, err := parseLimit(q)
	if err != nil {
		return err
	}
	if _, err := a.authorize(r, Access{Action: ActionSubscribe, Filters: filters}); err != nil {
		return err
	}
	return a.answerHistory(w, r, read, id, limit)
}

// showPosition answers GET /position.
func (a *api) showPosition(w http.ResponseWriter, r *http.Request, _, _ string) error {
	if _, err := a.authorize(r, Access{Action: ActionLocate}); err != nil {
		return err
	}
	a.answerJSON(w, r, struct {
		Position eventlog.Position `json:"position"`
	}{a.hub.Position()})
	return nil
}

// parseBegin returns the id at which a history begins, or the zero Position.
func parseBegin(q url.Values, parameter string) (eventlog.Position, error) {
	given, err := single(q, parameter, problem.InvalidID)
	if err != nil || given == "" {
		return eventlog.Position{}, err
	}
	return parsePosition(parameter, given)
}

// A pageReader reads a page of history that begins at a position.
type pageReader func(ctx context.Context, begin eventlog.Position, limit int) (hub.Page, error)

func (a *api) oldestFirst(filters []topics.Filter) pageReader {
	return func(ctx context.Context, after eventlog.Position, limit int) (hub.Page, error) {
		return a.hub.History(ctx, filters, after, limit)
	}
}

func (a *api) newestFirst(filters []topics.Filter) pageReader {
	return func(ctx context.Context, before eventlog.Position, limit int) (hub.Page, error) {
		return a.hub.HistoryBefore(ctx, filters, before, limit)
	}
}

// answerHistory answers with a page of history. Its members are gap, if events are missing
// before the first one, events, next, where the next page begins, and more: whether that has
// events now. A first page that begins with the newest event has position, too.
func (a *api) answerHistory(w http.ResponseWriter, r *http.Request, read pageReader, begin eventlog.Position, limit int) error {
	page, err := read(r.Context(), begin, min(limit, eventsAtOnce))
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
	head := page.Position
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
		next, err := read(budget.Continue(r.Context()), page.Next, min(limit-n, eventsAtOnce))
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
	out.raw("]")
	none := eventlog.Position{}
	if page.Next != none {
		out.raw(`,"next":`)
		out.text(page.Next.String())
	}
	out.raw(`,"more":` + strconv.FormatBool(page.More))
	if begin == none && head != none {
		out.raw(`,"position":`)
		out.text(head.String())
	}
	out.raw("}")
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
