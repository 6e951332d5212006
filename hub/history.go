package hub

import (
	"context"
	"slices"
	"strings"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/window"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// Topics returns up to limit topics that the filter matches and that have a retained event.
// They are ordered by name, and begin after the given name. "" is before all names.
func (h *Hub) Topics(ctx context.Context, filter topics.Filter, after string, limit int) ([]eventlog.TopicInfo, error) {
	end, err := h.budgets.Reads.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	found, err := h.log.Topics(ctx, filter, after, limit+reservedTopics)
	found = slices.DeleteFunc(found, func(t eventlog.TopicInfo) bool { return strings.HasPrefix(t.Topic, topics.ReservedPrefix) })
	return found[:min(limit, len(found))], err
}

// reservedTopics is how many topics are the hub's own.
const reservedTopics = 1

// read reads from the log when it is this reader's turn.
func (h *Hub) read(ctx context.Context, q eventlog.Query) (eventlog.Batch, error) {
	end, err := h.budgets.Reads.Begin(ctx)
	if err != nil {
		return eventlog.Batch{}, err
	}
	defer end()
	return h.log.Read(ctx, q)
}

// Topic returns one topic, and how many subscribers of this hub get its messages. It fails
// with [eventlog.ErrNotFound] if the topic has no retained event.
func (h *Hub) Topic(ctx context.Context, name string) (info eventlog.TopicInfo, subscribers int, err error) {
	if err := checkTopic(name); err != nil {
		return info, 0, err
	}
	found, err := h.Topics(ctx, topics.MustFilters(name)[0], "", 1)
	if err != nil {
		return info, 0, err
	}
	subscribers = h.streams.Subscribers(name)
	if len(found) == 0 {
		return info, subscribers, eventlog.ErrNotFound
	}
	return found[0], subscribers, nil
}

// Event returns one event by its topic and id. It fails with [eventlog.ErrNotFound] if the
// event is no longer retained, or never was there. If the log knows why it does not have the
// event, the error is an [*eventlog.NotFoundError].
func (h *Hub) Event(ctx context.Context, topic string, id eventlog.Position) (Event, error) {
	if err := checkTopic(topic); err != nil {
		return Event{}, err
	}
	return unlessReopened(func() (Event, error) { return h.event(ctx, topics.MustFilters(topic), id) })
}

// reopenings is how many times a query begins again because the log was opened anew.
const reopenings = 3

func (h *Hub) event(ctx context.Context, filters []topics.Filter, id eventlog.Position) (Event, error) {
	state, err := h.log.State(ctx)
	if err != nil {
		return Event{}, err
	}
	switch _, reason := state.Epochs.Resolve(id); {
	case reason == sse.GapLost:
		return Event{}, &eventlog.NotFoundError{Reason: reason}
	case id.Seq == 0 || id.Seq > state.Last || state.Epochs.Position(id.Seq) != id:
		return Event{}, eventlog.ErrNotFound
	case id.Seq < state.First:
		return Event{}, &eventlog.NotFoundError{Reason: sse.GapExpired}
	}
	b, err := h.read(ctx, eventlog.Query{
		Filters: filters, After: id.Seq - 1, UpTo: id.Seq, Generation: state.Generation, MaxRecords: 1, MaxBytes: 1,
	})
	switch {
	case err == nil && b.Hole > 0:
		err = &eventlog.NotFoundError{Reason: b.Reason}
	case err == nil && len(b.Records) == 0:
		err = eventlog.ErrNotFound
	}
	if err != nil {
		return Event{}, err
	}
	return Event(window.NewEntry(state.Epochs, b.Records[0]).Event()), nil
}

// A Page is a part of the history.
type Page struct {
	// Gap, if not nil, says that events are missing before the first of the
	// page. The page has no event if another gap follows.
	Gap *sse.GapError

	Events []Event

	// Next is where the next page begins, and More is false if that would be
	// empty now. A subscription with Next as its last event ID gets what follows
	// the page.
	Next eventlog.Position
	More bool

	// Position, of HistoryBefore only, is that of the newest message when the page was read. A
	// subscription with Position as its last event ID gets what was published since then.
	Position eventlog.Position
}

// pageBytes bounds the data of a page.
const pageBytes = 128 << 10

// History returns up to limit retained events that one of the filters matches,
// in order, and no more once their data has 128 KiB: from the oldest on, or those
// after the given position, if that is not the zero Position.
func (h *Hub) History(ctx context.Context, filters []topics.Filter, after eventlog.Position, limit int) (Page, error) {
	return unlessReopened(func() (Page, error) { return h.history(ctx, topics.Reduce(filters), after, limit) })
}

func (h *Hub) history(ctx context.Context, filters []topics.Filter, after eventlog.Position, limit int) (Page, error) {
	state, err := h.log.State(ctx)
	if err != nil {
		return Page{}, err
	}
	names := state.Epochs
	var page Page
	from, reason := state.First-1, ""
	if after != (eventlog.Position{}) {
		if from, reason = names.Resolve(after); from > state.Last {
			from, reason = state.Last, sse.GapFuture
		}
	}
	if reason != "" {
		page.Gap = &sse.GapError{Reason: reason, After: after.String(), Next: names.Position(from).String()}
	}
	resumed := page.Gap != nil
	through, bytes := from, 0
	for len(page.Events) < limit && bytes < pageBytes && through < state.Last {
		b, err := h.read(ctx, eventlog.Query{
			Filters: filters, After: through, UpTo: state.Last, Generation: state.Generation,
			MaxRecords: limit - len(page.Events), MaxBytes: pageBytes - bytes,
		})
		if err != nil {
			return Page{}, err
		}
		if b.Hole > 0 && (after != (eventlog.Position{}) || b.Reason != sse.GapExpired) {
			gap := &sse.GapError{Reason: b.Reason, After: names.Position(through).String(), Next: names.Position(b.Hole).String()}
			before := page.Gap
			joins := before == nil || before.Next == gap.After && (resumed || before.Reason == gap.Reason)
			if len(page.Events) > 0 || !joins {
				break // it stands before the first event of the next page
			}
			if before != nil {
				gap.Reason, gap.After = before.Reason, before.After
			}
			page.Gap = gap
		}
		for i := range b.Records {
			if strings.HasPrefix(b.Records[i].Topic, topics.ReservedPrefix) {
				continue
			}
			page.Events = append(page.Events, Event(window.NewEntry(names, b.Records[i]).Event()))
			bytes += len(b.Records[i].Data)
		}
		through = b.Through
	}
	page.Next, page.More = names.Position(through), through < state.Last
	return page, nil
}
