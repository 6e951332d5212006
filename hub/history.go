package hub

import (
	"context"
	"time"

	"example.com/tidings/sse"
)

// Topic is what a hub tells of a topic.
type Topic struct {
	Topic string    `json:"topic"`
	Last  string    `json:"last"`  // the id of the newest event
	Count uint64    `json:"count"` // events that are retained
	Time  time.Time `json:"time"`  // of the newest
}

// Topics returns up to limit topics that the filter matches and that have a
// retained event, ordered by name, beginning after the given one; "" is before
// all.
func (h *Hub) Topics(ctx context.Context, filter Filter, after string, limit int) ([]Topic, error) {
	found, err := h.log.Topics(ctx, filter, after, limit)
	names := timeline(h.log.Epochs())
	topics := make([]Topic, len(found))
	for i, t := range found {
		topics[i] = Topic{t.Topic, names.position(t.Last).String(), t.Count, t.Time}
	}
	return topics, err
}

// Topic returns one topic, and how many subscribers of this hub get what is
// published on it. Without a retained event it fails with [ErrNotFound].
func (h *Hub) Topic(ctx context.Context, topic string) (t Topic, subscribers int, err error) {
	if err := CheckTopic(topic); err != nil {
		return t, 0, err
	}
	found, err := h.Topics(ctx, Filter{topic}, "", 1)
	if err != nil {
		return t, 0, err
	}
	subscribers = h.engine.subscribersOf(topic)
	if len(found) == 0 {
		return t, subscribers, ErrNotFound
	}
	return found[0], subscribers, nil
}

// Event returns one event by its topic and id. Without it there is [ErrNotFound],
// be it that it is no longer retained or that it never was.
func (h *Hub) Event(ctx context.Context, topic string, id Position) (Event, error) {
	names := timeline(h.log.Epochs())
	if names.position(id.Seq) != id {
		return Event{}, ErrNotFound
	}
	rec, err := h.log.Get(ctx, id.Seq)
	if err == nil && rec.Topic != topic {
		err = ErrNotFound
	}
	if err != nil {
		return Event{}, err
	}
	return names.entry(rec).event(), nil
}

// A Page is a part of the history.
type Page struct {
	// Gap, if not nil, says that events are missing before the first of the
	// page.
	Gap *sse.GapError

	Events []Event

	// Next is where the next page begins, and More is false if that would be
	// empty now. A subscription with Next as its last event ID gets what follows
	// the page.
	Next Position
	More bool
}

// pageBytes bounds the data of a page.
const pageBytes = 4 << 20

// History returns up to limit retained events that one of the filters matches,
// in order, and no more once their data has 4 MiB: from the oldest on, or those
// after the given position, if that is not the zero Position.
func (h *Hub) History(ctx context.Context, filters []Filter, after Position, limit int) (Page, error) {
	names := timeline(h.log.Epochs())
	state, err := h.log.State(ctx)
	if err != nil {
		return Page{}, err
	}
	var page Page
	from, reason := state.First-1, ""
	if after != (Position{}) {
		if from, reason = names.resolve(after); from > state.Last {
			from, reason = state.Last, GapFuture
		}
	}
	if reason != "" {
		page.Gap = &sse.GapError{Reason: reason, After: after.String(), Next: names.position(from).String()}
	}
	through, bytes := from, 0
	for len(page.Events) < limit && bytes < pageBytes && through < state.Last {
		b, err := h.log.Read(ctx, Query{
			Filters: normalize(filters), After: through, UpTo: state.Last,
			MaxRecords: limit - len(page.Events), MaxBytes: pageBytes - bytes,
		})
		if err != nil {
			return Page{}, err
		}
		if b.Lost > 0 && (after != (Position{}) || !b.Expired) {
			if len(page.Events) > 0 {
				break // it stands before the first event of the next page
			}
			page.Gap = gapAt(names, b, page.Gap, through)
		}
		for i := range b.Records {
			page.Events = append(page.Events, names.entry(b.Records[i]).event())
			bytes += len(b.Records[i].Data)
		}
		through = b.Through
	}
	page.Next, page.More = names.position(through), through < state.Last
	return page, nil
}

// gapAt returns the gap that a batch begins with, joined to one just before it.
func gapAt(names timeline, b Batch, before *sse.GapError, after uint64) *sse.GapError {
	gap := &sse.GapError{Reason: GapLost, After: names.position(after).String(), Next: names.position(b.Lost).String()}
	if b.Expired {
		gap.Reason = GapExpired
	}
	if before != nil {
		gap.Reason, gap.After = before.Reason, before.After
	}
	return gap
}
