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
	state, err := h.stateWith(ctx, before)
	if err != nil {
		return Page{}, err
	}
	page := Page{Position: state.Epochs.Position(state.Last)}
	upTo, reason, told := state.Last, "", true
	if before != (eventlog.Position{}) {
		same, other, err := h.sameMark(ctx, state, before)
		if err != nil {
			return Page{}, err
		}
		upTo, reason, told = precedes(state, before, same, other)
	}
	if reason != "" {
		page.Gap = &sse.GapError{Reason: reason, After: state.Epochs.Position(upTo).String(), Next: before.String()}
	}
	found, after, err := h.newest(ctx, state, eventlog.Query{Filters: filters, UpTo: upTo, Generation: state.Generation}, limit+1)
	if err != nil {
		return Page{}, err
	}
	if !told {
		found = addCut(found, state, upTo)
	}
	page.fill(state.Epochs, found, limit, after)
	return page, nil
}

// precedes returns the number of the newest record before a position. same and other are what
// sameMark says. If the log does not have the position, reason says why. told says that a cut right
// after that record was told to whoever has the position, or is not to be told.
func precedes(state eventlog.State, before eventlog.Position, same, other bool) (seq uint64, reason string, told bool) {
	seq, reason = state.Epochs.Resolve(before)
	switch at, epoch, cut := state.Epochs.NextCut(seq); {
	case same:
		reason = ""
	case reason == "" && other:
		reason = sse.GapLost
	case reason == "" && cut && at == seq && epoch == before.Epoch: // see addCut
		return seq, "", true
	}
	switch {
	case same:
		seq = before.Seq
	case reason != "":
		return min(seq, state.Last), reason, true
	}
	if seq > state.Last+1 {
		return state.Last, sse.GapFuture, true
	}
	return max(seq, 1) - 1, "", false
}

// A stretch of the log has records, in order, that no hole separates.
type stretch struct {
	gap     *sse.GapError     // the hole before the records, or nil
	begins  eventlog.Position // what is older than the hole is before this
	records []eventlog.Record
}

// addCut adds the stretch that begins with a cut right after a number, if there is one. A loss that
// the history begins with is not told.
func addCut(found []stretch, state eventlog.State, seq uint64) []stretch {
	at, epoch, ok := state.Epochs.NextCut(seq)
	if !ok || at != seq || at < state.First {
		return found
	}
	begins := eventlog.Position{Epoch: epoch, Seq: at}
	gap := &sse.GapError{Reason: sse.GapLost, After: state.Epochs.Position(at).String(), Next: begins.String()}
	return append(found, stretch{gap: gap, begins: begins})
}

// fill adds the newest of the records that were found after a number.
func (p *Page) fill(names eventlog.Timeline, found []stretch, limit int, after uint64) {
	p.More = after > 0
	next, resumed := names.Position(after+1), p.Gap != nil
stretches:
	for _, s := range slices.Backward(found) {
		for _, rec := range slices.Backward(s.records) {
			if len(p.Events) == limit {
				p.More = true
				break stretches
			}
			p.Events = append(p.Events, Event(window.NewEntry(names, rec).Event()))
			next = names.ID(rec)
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
		p.Gap, next = gap, s.begins
	}
	if p.More {
		p.Next = next
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
	names, bytes, last := state.Epochs, 0, q.UpTo
	for q.After < last {
		found = addCut(found, state, q.After)
		q.UpTo = last
		if cut, _, ok := names.NextCut(q.After + 1); ok {
			q.UpTo = min(last, cut)
		}
		q.MaxRecords, q.MaxBytes = max(1, n-total), max(1, pageBytes-bytes)
		b, err := h.read(ctx, q)
		if err != nil {
			return nil, 0, false, err
		}
		if b.Hole > 0 && b.Reason != sse.GapExpired { // the history begins where retention does
			gap := &sse.GapError{Reason: b.Reason, After: names.Position(q.After).String(), Next: names.Position(b.Hole).String()}
			if n := len(found) - 1; n >= 0 && found[n].begins.Seq == q.After {
				gap.After = found[n].gap.Next // of a cut
			}
			found = append(found, stretch{gap: gap, begins: names.Position(q.After + 1)})
		} else if len(found) == 0 {
			found = []stretch{{}}
		}
		for _, rec := range b.Records {
			if strings.HasPrefix(rec.Topic, topics.ReservedPrefix) {
				continue
			}
			if gap := window.NewEntry(names, rec).Gap(); gap != nil { // it cannot be sent
				found = append(found, stretch{gap: gap, begins: names.ID(rec)})
				continue
			}
			s := &found[len(found)-1]
			s.records = append(s.records, rec)
			bytes += len(rec.Data)
			total++
		}
		if q.After = b.Through; q.After < last && bytes >= pageBytes && n > 1 {
			return found, total, false, nil
		}
	}
	return found, total, true, nil
}
