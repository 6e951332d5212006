package hub

import (
	"context"
	"slices"
	"strings"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/dispatch"
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
	state, err := h.stateWith(ctx, id)
	if err != nil {
		return Event{}, err
	}
	_, reason := state.Epochs.Resolve(id)
	named := state.Epochs.Position(id.Seq).Epoch == id.Epoch
	missing := eventlog.ErrNotFound
	if reason == sse.GapLost {
		missing = &eventlog.NotFoundError{Reason: reason}
	}
	switch {
	case id.Seq == 0 || id.Seq > state.Last || (reason != "" || !named) && id.Mark == 0:
		return Event{}, missing
	case id.Seq < state.First && reason == "" && named:
		return Event{}, &eventlog.NotFoundError{Reason: sse.GapExpired}
	}
	b, err := h.read(ctx, eventlog.Query{
		Filters: filters, After: id.Seq - 1, UpTo: id.Seq, Generation: state.Generation, MaxRecords: 1, MaxBytes: 1,
	})
	switch {
	case err != nil:
		return Event{}, err
	case b.Hole > 0 && missing == eventlog.ErrNotFound:
		return Event{}, &eventlog.NotFoundError{Reason: b.Reason}
	case len(b.Records) == 0:
		return Event{}, missing
	}
	e := window.NewEntry(state.Epochs, b.Records[0])
	switch {
	case id.Mark != 0 && id.Mark != e.ID.Mark && e.ID.Mark != 0: // the log has used the number again
		return Event{}, &eventlog.NotFoundError{Reason: sse.GapLost}
	case id.Mark != e.ID.Mark && id.Mark != 0:
		return Event{}, missing
	case e.Gap() != nil:
		return Event{}, &eventlog.NotFoundError{Reason: e.Gap().Reason}
	}
	return Event(e.Event()), nil
}

// stateWith returns the state of the log. If the log is shared with other processes, it first waits
// until the log knows an id that one of them may have handed out.
func (h *Hub) stateWith(ctx context.Context, id eventlog.Position) (eventlog.State, error) {
	state, err := h.log.State(ctx)
	if err != nil || state.Settle == 0 || id == (eventlog.Position{}) {
		return state, err
	}
	if _, reason := state.Epochs.Resolve(id); !state.Epochs.IsNewer(id.Epoch) && (reason != "" || id.Seq <= state.Last || id.Seq > state.Last+dispatch.FarAhead) {
		return state, nil
	}
	within, cancel := context.WithTimeout(ctx, state.Settle)
	defer cancel()
	h.window.AwaitID(within, id)
	return h.log.State(ctx)
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
	state, err := h.stateWith(ctx, after)
	if err != nil {
		return Page{}, err
	}
	p := pageReader{names: state.Epochs, through: state.First - 1, all: after == (eventlog.Position{}), limit: limit}
	if p.all {
		p.knowCut()
	} else if err := h.resume(ctx, &p, state, after); err != nil {
		return Page{}, err
	}
	p.resumed = p.page.Gap != nil
	for p.wants() && p.through < state.Last && p.passCut() {
		upTo := state.Last
		if cut, _, ok := p.names.NextCut(p.through + 1); ok {
			upTo = min(upTo, cut)
		}
		b, err := h.read(ctx, eventlog.Query{
			Filters: filters, After: p.through, UpTo: upTo, Generation: state.Generation,
			MaxRecords: limit - len(p.page.Events), MaxBytes: pageBytes - p.bytes,
		})
		if err != nil {
			return Page{}, err
		}
		if !p.take(b) {
			break
		}
	}
	p.page.Next, p.page.More = p.place(p.through), p.through < state.Last
	return p.page, nil
}

// resume has a page begin after a position.
func (h *Hub) resume(ctx context.Context, p *pageReader, state eventlog.State, after eventlog.Position) error {
	from, reason := p.names.Resolve(after)
	p.knows = after.Epoch
	same, other, err := h.sameMark(ctx, state, after)
	switch {
	case err != nil:
		return err
	case same: // the client has this very event
		from, reason = after.Seq, ""
	case other && reason == "": // it is not known where the loss began
		reason = sse.GapLost
	}
	if from > state.Last {
		from, reason = state.Last, sse.GapFuture
	}
	p.through = from
	if reason != "" {
		p.knowCut()
		p.page.Gap = &sse.GapError{Reason: reason, After: after.String(), Next: p.place(from).String()}
	}
	return nil
}

// sameMark compares the mark of an id with that of the record which has its number now, if both have
// one: it is the same record, or the log has used the number again for another one.
func (h *Hub) sameMark(ctx context.Context, state eventlog.State, id eventlog.Position) (same, other bool, err error) {
	if id.Mark == 0 || id.Seq < max(state.First, 1) || id.Seq > state.Last {
		return false, false, nil
	}
	b, err := h.read(ctx, eventlog.Query{
		Filters: topics.MustFilters("**"), After: id.Seq - 1, UpTo: id.Seq, Generation: state.Generation, MaxRecords: 1, MaxBytes: 1,
	})
	if err != nil || len(b.Records) == 0 || b.Records[0].Mark == 0 {
		return false, false, err
	}
	same = b.Records[0].Mark == id.Mark
	return same, !same, nil
}

// A pageReader makes a page of the log.
type pageReader struct {
	page    Page
	names   eventlog.Timeline
	knows   string // the epoch of the last cut that the reader of the page knows of
	all     bool   // the page begins with the oldest event
	resumed bool   // the page begins with a gap because of where the reader was
	limit   int
	through uint64
	bytes   int
}

func (p *pageReader) wants() bool { return len(p.page.Events) < p.limit && p.bytes < pageBytes }

// place returns the position after a number, as the reader of the page knows it.
func (p *pageReader) place(seq uint64) eventlog.Position {
	if at, epoch, ok := p.names.NextCut(seq); ok && at == seq && epoch == p.knows {
		return eventlog.Position{Epoch: epoch, Seq: seq}
	}
	return p.names.Position(seq)
}

// knowCut notes that the reader of the page knows of a cut where the page is.
func (p *pageReader) knowCut() {
	if at, epoch, ok := p.names.NextCut(p.through); ok && at == p.through {
		p.knows = epoch
	}
}

// passCut adds the gap of a cut where the page is. It returns false if the next page has to begin
// with it.
func (p *pageReader) passCut() bool {
	at, epoch, ok := p.names.NextCut(p.through)
	if !ok || at != p.through || epoch == p.knows {
		return true
	}
	next := eventlog.Position{Epoch: epoch, Seq: at}
	if !p.gap(sse.GapLost, p.place(p.through), next) {
		return false
	}
	p.knows = epoch
	return true
}

// gap adds a gap to the page. It returns false if the next page has to begin with it.
func (p *pageReader) gap(reason string, after, next eventlog.Position) bool {
	gap := &sse.GapError{Reason: reason, After: after.String(), Next: next.String()}
	before := p.page.Gap
	joins := before == nil || before.Next == gap.After && (p.resumed || before.Reason == gap.Reason)
	if len(p.page.Events) > 0 || !joins {
		return false
	}
	if before != nil {
		gap.Reason, gap.After = before.Reason, before.After
	}
	p.page.Gap = gap
	return true
}

// take adds a batch to the page. It returns false if the page has to end.
func (p *pageReader) take(b eventlog.Batch) bool {
	if b.Hole > 0 && (!p.all || b.Reason != sse.GapExpired) && !p.gap(b.Reason, p.place(p.through), p.names.Position(b.Hole)) {
		return false
	}
	for i := range b.Records {
		if strings.HasPrefix(b.Records[i].Topic, topics.ReservedPrefix) {
			continue
		}
		e := window.NewEntry(p.names, b.Records[i])
		if gap := e.Gap(); gap != nil {
			if !p.gap(gap.Reason, p.names.Position(e.Seq-1), p.names.Position(e.Seq)) {
				return false
			}
			p.through = e.Seq
			continue
		}
		p.page.Events = append(p.page.Events, Event(e.Event()))
		p.bytes += len(e.Data)
		p.through = e.Seq
	}
	p.through = b.Through
	return true
}
