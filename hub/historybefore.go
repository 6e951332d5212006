package hub

import (
	"context"
	"errors"
	"slices"
	"strings"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/window"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// Position returns where a stream begins that gets every message from now on: everything that
// this hub has acknowledged so far is at the position or before it, and everything that is
// published later is after it. A handler that takes the position, reads its data and renders a
// page with both misses nothing: the page subscribes with the position as its last event ID. It
// may get a message whose effect the data shows already. Position reads no log, and never waits.
func (h *Hub) Position() eventlog.Position {
	v, last := h.window.Head()
	return v.Timeline.Position(last)
}

// mostEvents is how many events a page of HistoryBefore has at most.
const mostEvents = 1000

// HistoryBefore returns up to limit retained events that one of the filters matches, newest
// first: from the newest on, or those before the event with the given id, if that is not the
// zero Position. A page has at most 1,000 events, and no more once their data has 128 KiB.
//
// The page's Next is what before is for the next page. It is zero if there are no older events.
// The gap of a page is before its first event, and so is newer than that.
func (h *Hub) HistoryBefore(ctx context.Context, filters []topics.Filter, before eventlog.Position, limit int) (Page, error) {
	return unlessReopened(func() (Page, error) {
		return h.historyBefore(ctx, topics.Reduce(filters), before, min(limit, mostEvents))
	})
}

// unlessReopened calls f, and again if the log was opened anew meanwhile.
func unlessReopened[T any](f func() (T, error)) (T, error) {
	for range reopenings {
		if v, err := f(); !errors.Is(err, eventlog.ErrReopened) {
			return v, err
		}
	}
	var none T
	return none, eventlog.ErrReopened
}

func (h *Hub) historyBefore(ctx context.Context, filters []topics.Filter, before eventlog.Position, limit int) (Page, error) {
	state, err := h.log.State(ctx)
	if err != nil {
		return Page{}, err
	}
	page := Page{Position: state.Epochs.Position(state.Last)}
	upTo, reason := state.Last, ""
	if before != (eventlog.Position{}) {
		upTo, reason = precedes(state, before)
	}
	if reason != "" {
		page.Gap = &sse.GapError{Reason: reason, After: state.Epochs.Position(upTo).String(), Next: before.String()}
	}
	found, after, err := h.newest(ctx, state, eventlog.Query{Filters: filters, UpTo: upTo, Generation: state.Generation}, limit+1)
	if err != nil {
		return Page{}, err
	}
	page.fill(state.Epochs, found, limit, after)
	return page, nil
}

// precedes returns the number of the newest record before a position. If the log does not have
// the position, reason says why.
func precedes(state eventlog.State, before eventlog.Position) (seq uint64, reason string) {
	seq, reason = state.Epochs.Resolve(before)
	switch {
	case reason != "":
		return min(seq, state.Last), reason
	case seq > state.Last+1:
		return state.Last, sse.GapFuture
	}
	return max(seq, 1) - 1, ""
}

// A stretch of the log has records, in order, that no hole separates.
type stretch struct {
	gap     *sse.GapError // the hole before the records, or nil
	after   uint64        // the number before the hole
	records []eventlog.Record
}

// fill adds the newest of the records that were found after a number.
func (p *Page) fill(names eventlog.Timeline, found []stretch, limit int, after uint64) {
	p.More = after > 0
	next, resumed := after+1, p.Gap != nil
stretches:
	for _, s := range slices.Backward(found) {
		for _, rec := range slices.Backward(s.records) {
			if len(p.Events) == limit {
				p.More = true
				break stretches
			}
			p.Events = append(p.Events, Event(window.NewEntry(names, rec).Event()))
			next = rec.Seq
		}
		newer, gap := p.Gap, s.gap
		switch {
		case gap == nil:
			continue
		case len(p.Events) > 0 || newer != nil && (newer.After != gap.Next || !resumed && newer.Reason != gap.Reason):
			p.More = true // it stands before the first event of the next page
			break stretches
		case newer != nil:
			gap.Reason, gap.Next = newer.Reason, newer.Next
		}
		p.Gap, next = gap, s.after+1
	}
	if p.More {
		p.Next = names.Position(next)
	}
}

// newest finds the newest n records that a query without After asks for, or fewer once their data
// has pageBytes. They are all after a number. If that is 0, the log has no others.
func (h *Hub) newest(ctx context.Context, state eventlog.State, q eventlog.Query, n int) (found []stretch, after uint64, err error) {
	for {
		if after, err = h.back(ctx, q.Filters, n, q.UpTo); err != nil {
			return nil, 0, err
		}
		ctx = budget.Continue(ctx)
		q.After = after
		found, total, whole, err := h.stretches(ctx, state, q, n)
		if err != nil || whole {
			return found, after, err
		}
		n = max(1, min(n, total)/2) // the newest ones are as large, probably
	}
}

// back looks for the newest n records when it is this reader's turn.
func (h *Hub) back(ctx context.Context, filters []topics.Filter, n int, upTo uint64) (after uint64, err error) {
	end, err := h.budgets.Reads.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	return h.streams.Back(ctx, filters, n, upTo)
}

// stretches reads about n records, whose number it returns. whole is false if their data has
// pageBytes before all are read, unless n is 1.
func (h *Hub) stretches(ctx context.Context, state eventlog.State, q eventlog.Query, n int) (found []stretch, total int, whole bool, err error) {
	names, bytes := state.Epochs, 0
	for q.After < q.UpTo {
		q.MaxRecords, q.MaxBytes = max(1, n-total), max(1, pageBytes-bytes)
		b, err := h.read(ctx, q)
		if err != nil {
			return nil, 0, false, err
		}
		s := stretch{after: q.After, records: slices.DeleteFunc(b.Records, func(r eventlog.Record) bool {
			return strings.HasPrefix(r.Topic, topics.ReservedPrefix)
		})}
		if b.Hole > 0 && b.Reason != sse.GapExpired { // the history begins where retention does
			s.gap = &sse.GapError{Reason: b.Reason, After: names.Position(q.After).String(), Next: names.Position(b.Hole).String()}
		}
		for i := range s.records {
			bytes += len(s.records[i].Data)
		}
		total += len(s.records)
		if last := len(found) - 1; s.gap == nil && last >= 0 {
			found[last].records = append(found[last].records, s.records...)
		} else {
			found = append(found, s)
		}
		if q.After = b.Through; q.After < q.UpTo && bytes >= pageBytes && n > 1 {
			return found, total, false, nil
		}
	}
	return found, total, true, nil
}
