package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/delivery"
	"example.com/tidings/internal/window"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// A Request says what a stream gets.
type Request struct {
	Booking     *Booking
	Start       Start
	LastEventID string // if not empty, wins over Start; it is untrusted

	// Skip has a stream that falls out of the window go on with the newest message,
	// after a gap, instead of reading the log.
	Skip bool
}

// A Start says where a stream without a last event ID begins. The zero Start is now.
type Start struct {
	Kind StartKind
	N    int               // of StartCount
	ID   eventlog.Position // of StartAfter
	Time time.Time         // of StartTime
}

// A StartKind says which messages a stream begins with.
type StartKind int

const (
	StartNow    StartKind = iota // those published from now on
	StartOldest                  // the oldest retained one
	StartLast                    // the newest one of each topic
	StartCount                   // the newest N
	StartAfter                   // those after an id
	StartTime                    // the oldest retained one that was stored at a time or later
)

// searches reports whether the log is searched for where the stream begins.
func (s Start) searches() bool {
	return s.Kind == StartLast || s.Kind == StartTime || s.Kind == StartCount && s.N > 0
}

// ErrFull means that there is no room for the filters of another stream.
var ErrFull = errors.New("dispatch: the index of filters is full")

// Book returns a booking of the filters of a stream. Whoever ends the stream releases it. Book
// returns nil if the hub holds too much for filters.
func (d *Dispatcher) Book(filters []topics.Filter) *Booking {
	return d.ledger.book(topics.Reduce(filters))
}

// Begin returns a cursor at the place where a stream begins. It reserves room for the stream's
// filters in the index, or returns [ErrFull]. If the stream does not begin, the caller calls
// [Cursor.Release].
func (d *Dispatcher) Begin(ctx context.Context, r Request) (*Cursor, error) {
	c := &Cursor{dispatcher: d, booking: r.Booking, filters: r.Booking.filters, skip: r.Skip}
	nodes := d.opts.Budgets.IndexNodes.Claim()
	if !nodes.Grow(nodesOf(c.filters)) {
		return nil, ErrFull
	}
	c.reserved.Store(int64(nodesOf(c.filters)))
	v := d.window.Load()
	c.use(v, v.Last())
	id, idErr := r.Start.ID, error(nil)
	if r.LastEventID != "" {
		id, idErr = eventlog.ParsePosition(r.LastEventID)
	}
	var err error
	switch {
	case idErr != nil: // it may miss everything
		err = c.start(ctx, Start{Kind: StartOldest})
	case r.LastEventID != "" || r.Start.Kind == StartAfter:
		err = c.resume(ctx, id)
	default:
		err = c.start(ctx, r.Start)
	}
	if err != nil {
		c.Release()
		return nil, fmt.Errorf("find where a subscription begins: %w", err)
	}
	if idErr != nil {
		c.gap = &sse.GapError{Reason: sse.GapMalformed, After: printable(r.LastEventID), Next: c.timeline.Position(c.Begins()).String()}
	}
	return c, nil
}

// resume begins after an id.
func (c *Cursor) resume(ctx context.Context, id eventlog.Position) error {
	state, err := c.awaitID(ctx, id)
	if err != nil {
		return err
	}
	after, reason := c.timeline.Resolve(id)
	switch proof, err := c.prove(ctx, id); {
	case err != nil:
		return err
	case proof == proven:
		after, reason = id.Seq, ""
	case proof == refuted && reason == "": // the log has used the number again, and it is not known where the loss began
		reason = sse.GapLost
	}
	if after > c.pos || reason != "" {
		if state.Epochs == nil {
			if state, err = c.dispatcher.log.State(ctx); err != nil {
				return err
			}
		}
		// Another node may have delivered messages that this one has not seen yet.
		if last := max(c.pos, state.Last); after > last {
			after, reason = last, sse.GapFuture
		}
		if reason != "" {
			after = max(after, state.First-1) // so that one gap is enough
		}
	}
	c.pos, c.knows = after, id.Epoch
	if reason != "" {
		c.knowCut()
		c.gap = &sse.GapError{Reason: reason, After: id.String(), Next: c.place(after).String()}
	}
	return nil
}

// FarAhead is how far an id may be ahead of a shared log so that it is worth waiting for it.
const FarAhead = 1 << 20

// awaitID waits until the window has reached an id, if the log is shared with other processes: one
// of them may have handed the id out, and this one not heard of it yet. It returns the state of the
// log if it has asked for it.
func (c *Cursor) awaitID(ctx context.Context, id eventlog.Position) (state eventlog.State, err error) {
	newer := c.timeline.IsNewer(id.Epoch)
	if _, reason := c.timeline.Resolve(id); !newer && (reason != "" || id.Seq <= c.pos) {
		return state, nil
	}
	if state, err = c.dispatcher.log.State(ctx); err != nil || state.Settle == 0 || !newer && id.Seq > max(c.pos, state.Last)+FarAhead {
		return state, err
	}
	within, cancel := context.WithTimeout(ctx, state.Settle)
	defer cancel()
	c.dispatcher.window.AwaitID(within, id)
	v := c.dispatcher.window.Load()
	c.use(v, v.Last())
	return eventlog.State{}, ctx.Err()
}

// What the mark of an id says.
type proof int

const (
	unknown proof = iota // it has none, or the log does not have the record
	proven               // the client has this very record
	refuted              // the log has another record with the number
)

// prove compares the mark of an id with that of the record of its number.
func (c *Cursor) prove(ctx context.Context, id eventlog.Position) (proof, error) {
	if id.Mark == 0 || id.Seq == 0 {
		return unknown, nil
	}
	v := c.dispatcher.window.Load()
	if entries := v.From(id.Seq); id.Seq >= v.First() && len(entries) > 0 {
		return compare(id, entries[0].Mark), nil
	}
	if id.Seq > v.Last() {
		return unknown, nil
	}
	b, err := c.dispatcher.log.Read(ctx, eventlog.Query{
		Filters: everything, After: id.Seq - 1, UpTo: id.Seq, Generation: c.generation, MaxRecords: 1, MaxBytes: 1,
	})
	switch {
	case errors.Is(err, eventlog.ErrReopened): // the epochs say more
		return unknown, nil
	case err != nil || len(b.Records) == 0:
		return unknown, err
	}
	return compare(id, b.Records[0].Mark), nil
}

func compare(id eventlog.Position, mark uint32) proof {
	switch mark {
	case 0:
		return unknown
	case id.Mark:
		return proven
	}
	return refuted
}

var everything = topics.MustFilters("**")

// start begins without an id.
func (c *Cursor) start(ctx context.Context, from Start) (err error) {
	// The window may not have reached yet what the hub has acknowledged.
	if v, acknowledged := c.dispatcher.window.Head(); v.Era() == c.era {
		c.pos = max(c.pos, acknowledged)
	}
	log, head := c.dispatcher.log, c.pos
	if from.searches() {
		end, err := c.dispatcher.opts.Budgets.Reads.Begin(ctx)
		if err != nil {
			return err
		}
		defer end()
	}
	switch from.Kind {
	case StartNow:
	case StartOldest:
		var state eventlog.State
		state, err = log.State(ctx)
		c.pos, c.oldest = min(head, state.First-1), true
	case StartLast:
		// This looks for the first of them. Messages after the head follow anyway.
		c.lookTo = head
		err = c.lookOn(ctx)
	case StartCount:
		if from.N > 0 {
			c.oldest = true // if there are fewer
			var state eventlog.State
			if state, err = log.State(ctx); err == nil {
				c.pos, err = c.dispatcher.back(ctx, c.filters, from.N, head)
				c.pos = min(head, max(c.pos, state.First-1))
			}
		}
	case StartTime:
		var seq uint64
		c.oldest = true
		seq, err = log.At(ctx, from.Time)
		c.pos = min(head, seq-1)
	}
	if errors.Is(err, eventlog.ErrNotFound) {
		err = nil
	}
	c.knowCut()
	return err
}

// printable returns an id that a client sent if it is short and can stand in an event's id,
// and otherwise nothing.
func printable(id string) string {
	const enough = 200
	if len(id) > enough || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ""
	}
	return id
}

// The types of the hub's own events, as package hub documents them.
const (
	openEventType     = topics.ReservedPrefix + "open"
	positionEventType = topics.ReservedPrefix + "position"
	endEventType      = topics.ReservedPrefix + "end"
)

// The data of the hub's own events.
type (
	openData struct {
		Topics   []string          `json:"topics"`
		Position eventlog.Position `json:"position"`

		// KeepAlive is how long the stream may be silent, in milliseconds. It is left out
		// if that has no bound.
		KeepAlive int64 `json:"keepAlive,omitempty"`

		// ExpiresIn is how long the client may read the stream, in seconds, rounded down. It
		// is left out if that has no end. Clocks differ, so it is not a time.
		ExpiresIn *int64 `json:"expiresIn,omitempty"`
	}
	positionData struct {
		Position eventlog.Position `json:"position"`
	}
	endData struct {
		Reason string `json:"reason"`
	}
)

// endReason returns what a client is told of the reason why its stream ends.
func endReason(reason delivery.Reason) string {
	if reason == delivery.Slow {
		reason = delivery.Limit
	}
	return reason.String()
}

// OpenEvent returns the first event of a stream, before the cursor is used for anything
// else. Its id is where the stream begins, so that a client which is cut before the first
// message resumes there. If a gap comes next, the id is the one that the client sent, so
// that a client which is cut before the gap is told of it again. until is when the client may
// no longer read, or zero.
func (c *Cursor) OpenEvent(requested []topics.Filter, until time.Time) sse.Event {
	names := make([]string, len(requested))
	for i, f := range requested {
		names[i] = f.String()
	}
	at := c.place(c.Begins())
	var expiresIn *int64
	if !until.IsZero() {
		expiresIn = new(max(0, int64(time.Until(until)/time.Second)))
	}
	ev := sse.Event{
		Type: openEventType, Retry: c.dispatcher.jitteredRetry(), ID: at.String(),
		Data: window.JSON(openData{names, at, max(0, c.dispatcher.opts.KeepAlive.Milliseconds()), expiresIn}),
	}
	if gap := c.gap; gap != nil {
		ev.ID = gap.After
		if ev.ID == "" {
			ev.ID = "unknown" // as malformed as the client's
		}
	}
	return ev
}

// placeOf returns the position of a client that has everything up to a number, and knows of all
// cuts there.
func placeOf(names eventlog.Timeline, seq uint64) eventlog.Position {
	if at, epoch, ok := names.NextCut(seq); ok && at == seq {
		return eventlog.Position{Epoch: epoch, Seq: seq}
	}
	return names.Position(seq)
}

// positionNotice returns the keep-alive that says how far the log has gone on.
func positionNotice(names eventlog.Timeline, seq uint64) *window.Notice {
	id := placeOf(names, seq)
	ev := sse.Event{Type: positionEventType, Data: window.JSON(positionData{id}), ID: id.String()}
	return &window.Notice{At: seq, Chunk: window.Chunk(ev)}
}
