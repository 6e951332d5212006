package hub

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/tidings/internal/delivery"
	"example.com/tidings/sse"
)

// The bounds of a subscription.
const (
	// MaxFilters is how many filters one subscription may have.
	MaxFilters = 100

	// MaxFromCount is with how many of the newest messages it may begin: to find
	// them is work that comes before its first event.
	MaxFromCount = 100_000
)

// A Subscription says what a subscriber wants. The topics are chosen by whoever
// fills it in: nothing of it is authorised by the hub.
type Subscription struct {
	// Topics are topics and filters, see [ParseFilter], 1 to [MaxFilters]. What
	// several of them match comes once.
	Topics []string

	// From is where to begin. The zero value is now: with what is published
	// after the subscription has begun.
	From From

	// LastEventID, if not empty, is the id of the last event that the subscriber
	// has, and wins over From. It is untrusted input: one with which the hub
	// cannot do anything makes a gap, see the constants GapExpired to
	// GapMalformed, never an error. ServeEvents takes that of the request when
	// this is empty.
	LastEventID string

	// Lag is what happens when the subscriber falls behind.
	Lag Lag

	// Format is the form of the events of ServeEvents.
	Format Format

	// Refuse, if not nil, answers in place of ServeEvents when the subscription
	// cannot begin, with an error that [Hub.Subscribe] would have returned.
	Refuse func(http.ResponseWriter, *http.Request, error)

	conclusion *conclusion // nil for a stream that goes on
}

// Lag says what happens to a subscriber that falls further behind than the hub's
// window.
type Lag int

const (
	LagReplay Lag = iota // it reads from the log, and misses nothing that is retained
	LagSkip              // it goes on with what is published next, after a gap
)

// ParseLag parses "replay", "skip" or, for the default, "".
func ParseLag(s string) (Lag, error) {
	switch s {
	case "", "replay":
		return LagReplay, nil
	case "skip":
		return LagSkip, nil
	}
	return 0, invalid("lag", "%s is not known: it is replay or skip", quote(s))
}

// Format is the form in which a subscriber gets messages.
type Format int

const (
	FormatData     Format = iota // the message's type and data
	FormatEnvelope               // no type, and the JSON of an [Event] as data
)

// ParseFormat parses "data", "envelope" or, for the default, "".
func ParseFormat(s string) (Format, error) {
	switch s {
	case "", "data":
		return FormatData, nil
	case "envelope":
		return FormatEnvelope, nil
	}
	return 0, invalid("format", "%s is not known: it is data or envelope", quote(s))
}

// From says where a subscription begins that has no last event ID. It is
// comparable; the zero value is now.
type From struct {
	kind fromKind
	n    int
	id   Position
	time time.Time
}

type fromKind int

const (
	fromNow fromKind = iota
	fromStart
	fromLast
	fromCount
	fromPosition
	fromTime
)

// FromStart begins with the oldest message that is retained.
func FromStart() From { return From{kind: fromStart} }

// FromLast begins with the newest message of each topic that matches, in the order in
// which they were stored. They are looked for in pieces, as the subscriber takes them: a
// topic that gets a newer message before it is its turn comes with that one, later.
func FromLast() From { return From{kind: fromLast} }

// FromCount begins with the newest n messages that match, 0 to [MaxFromCount]. A
// negative n counts as 0. With a larger one the subscription fails with an
// [*InvalidError].
func FromCount(n int) From { return From{kind: fromCount, n: max(0, n)} }

// FromPosition begins after an event, as that id as LastEventID does.
func FromPosition(id Position) From { return From{kind: fromPosition, id: id} }

// FromTime begins with the oldest retained message that was stored at t or
// later.
func FromTime(t time.Time) From { return From{kind: fromTime, time: t.UTC()} }

// ParseFrom parses "now", "start", "last", a number of messages up to
// [MaxFromCount], an event's id, a time as in RFC 3339 or, for the default, "".
func ParseFrom(s string) (From, error) {
	switch s {
	case "", "now":
		return From{}, nil
	case "start":
		return FromStart(), nil
	case "last":
		return FromLast(), nil
	}
	if strings.Trim(s, "0123456789") == "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			n = math.MaxInt // the digits stand for more than an int holds
		}
		from := FromCount(n)
		if err := from.check(); err != nil {
			return From{}, err
		}
		return from, nil
	}
	if p, err := ParsePosition(s); err == nil {
		return FromPosition(p), nil
	}
	// RFC 3339, section 5.6, allows lower case; and a + in a query that was not
	// encoded arrives as a space.
	if t, err := time.Parse(time.RFC3339, strings.ToUpper(strings.Replace(s, " ", "+", 1))); err == nil {
		return FromTime(t), nil
	}
	return From{}, invalid("from", "%s is not known: it is now, start, last, a number of messages, an event's id, or a time such as 2026-01-31T12:00:00Z", quote(s))
}

// check refuses what no subscription can begin with.
func (f From) check() error {
	if f.kind == fromCount && f.n > MaxFromCount {
		return invalid("from", "is too large a number: a subscription begins with the newest %d messages at most", MaxFromCount)
	}
	return nil
}

// An Event is a message as subscribers get it. Its JSON is the data of events in
// FormatEnvelope, and of the history.
type Event struct {
	ID    string    `json:"id"` // the position after it
	Topic string    `json:"topic"`
	Type  string    `json:"type"` // "message" where it was published without one
	Data  string    `json:"data"`
	Time  time.Time `json:"time"`
}

// Subscribe returns the sequence of the messages that a subscription asks for:
// first what is retained of them, then what is published, each once and in
// order, without end. It ends when ctx is done and when the hub is closed, in
// both cases without an error.
//
// Where messages are missing it yields a [*sse.GapError] and goes on; its Next is
// a position that, as LastEventID, would go on at the same place. Any other error
// is that of the log, and ends the sequence.
//
// The sequence is ranged once, by one goroutine at a time. How slow it is does
// not matter to others. The position is taken before Subscribe returns. What
// the subscription takes up is released when the sequence or ctx ends, so one of
// them must.
//
// Subscribe fails with an [*InvalidError], [ErrReserved], [ErrUnavailable] or an
// error of the log.
func (h *Hub) Subscribe(ctx context.Context, sub Subscription) (iter.Seq2[Event, error], error) {
	events, _, err := h.subscribe(ctx, sub)
	return events, err
}

// subscribe is Subscribe. It also returns the cursor, which belongs to the sequence as
// soon as that is ranged.
func (h *Hub) subscribe(ctx context.Context, sub Subscription) (iter.Seq2[Event, error], *cursor, error) {
	c, place, err := h.open(ctx, sub)
	if err != nil {
		return nil, nil, err
	}
	place.watch(ctx)
	return func(yield func(Event, error) bool) {
		defer place.leave()
		task := h.engine.group.NewTask(delivery.Iterator, nil)
		if ctx.Err() != nil || !h.engine.openTask(task, &opening{cursor: c, sub: sub}) {
			return
		}
		// A consumer that never comes back must not keep the stream, either.
		defer context.AfterFunc(ctx, task.Leave)()
		defer task.Leave()
		for task.Next() {
			for _, f := range task.Frames() {
				ev, err := item(f)
				if ctx.Err() != nil || !yield(ev, err) {
					return
				}
			}
		}
		if _, _, err := task.Outcome(); err != nil && ctx.Err() == nil {
			yield(Event{}, err)
		}
	}, c, nil
}

// item returns what a subscription yields for a frame.
func item(f delivery.Frame) (Event, error) {
	switch f := f.(type) {
	case *entry:
		if gap := f.gap(); gap != nil {
			return Event{}, gap
		}
		return f.event(), nil
	case *eventFrame:
		return Event{}, f.gap // an iterator is handed no other ones
	}
	panic(fmt.Sprintf("hub: a %T is handed to a subscription", f))
}

// A place is one among the hub's subscribers. It is given back once.
type place struct {
	hub     *Hub
	once    sync.Once
	unwatch func() bool
}

// watch has the end of a context give the place back, too.
func (p *place) watch(ctx context.Context) { p.unwatch = context.AfterFunc(ctx, p.giveBack) }

func (p *place) leave() {
	if p.unwatch != nil {
		p.unwatch()
	}
	p.giveBack()
}

// keep has the place outlive its leave: whoever ends the stream gives it back.
func (p *place) keep() { p.once.Do(func() {}) }

func (p *place) giveBack() {
	p.once.Do(func() { p.hub.subscribers.Add(-1) })
}

// open takes a place among the subscribers, and the position where the
// subscription begins. The place has to be given back.
func (h *Hub) open(ctx context.Context, sub Subscription) (*cursor, *place, error) {
	if len(sub.Topics) == 0 || len(sub.Topics) > MaxFilters {
		return nil, nil, invalid("filter", "is wanted 1 to %d times, and was given %d times", MaxFilters, len(sub.Topics))
	}
	filters, err := ParseFilters(sub.Topics...)
	if err == nil {
		err = sub.From.check()
	}
	if err != nil {
		return nil, nil, err
	}
	h.mu.Lock()
	closed := h.closed
	h.mu.Unlock()
	if closed {
		return nil, nil, ErrUnavailable
	}
	if h.subscribers.Add(1) > int64(h.opts.MaxSubscribers) {
		h.subscribers.Add(-1)
		return nil, nil, ErrUnavailable
	}
	p := &place{hub: h}
	c := &cursor{hub: h, filters: normalize(filters), lag: sub.Lag}
	if err := c.begin(ctx, sub); err != nil {
		p.giveBack()
		return nil, nil, err
	}
	return c, p, nil
}

// begin finds where the subscription begins.
func (c *cursor) begin(ctx context.Context, sub Subscription) error {
	v := c.hub.view.load()
	c.timeline, c.era, c.pos = v.timeline, v.era(), v.last()
	id, idErr := sub.From.id, error(nil)
	if sub.LastEventID != "" {
		id, idErr = ParsePosition(sub.LastEventID)
	}
	var err error
	switch {
	case idErr == nil && (sub.LastEventID != "" || sub.From.kind == fromPosition):
		err = c.resume(ctx, id)
	default:
		err = c.beginAnew(ctx, sub.From)
	}
	if err != nil {
		return fmt.Errorf("hub: find where a subscription begins: %w", err)
	}
	if idErr != nil {
		c.gap = &sse.GapError{Reason: GapMalformed, After: printable(sub.LastEventID), Next: c.timeline.position(c.pos).String()}
	}
	return nil
}

// resume begins after an id.
func (c *cursor) resume(ctx context.Context, id Position) error {
	after, reason := c.timeline.resolve(id)
	if after > c.pos || reason != "" {
		state, err := c.hub.log.State(ctx)
		if err != nil {
			return err
		}
		// Another node may have handed on what this one has not yet seen.
		if last := max(c.pos, state.Last); after > last {
			after, reason = last, GapFuture
		}
		if reason != "" {
			after = max(after, state.First-1) // one gap is enough
		}
	}
	c.pos = after
	if reason != "" {
		c.gap = &sse.GapError{Reason: reason, After: id.String(), Next: c.timeline.position(after).String()}
	}
	return nil
}

// beginAnew begins where no id says where.
func (c *cursor) beginAnew(ctx context.Context, from From) (err error) {
	log, head := c.hub.log, c.pos
	switch from.kind {
	case fromNow:
		// What this hub has acknowledged it may see only in a moment.
		c.hub.mu.Lock()
		if c.hub.view.load().era() == c.era {
			c.pos = max(c.pos, c.hub.appended)
		}
		c.hub.mu.Unlock()
	case fromStart:
		var state State
		state, err = log.State(ctx)
		c.pos, c.oldest = min(head, state.First-1), true
	case fromLast:
		// The first of them. What comes after the head comes by itself.
		c.lookTo = head
		err = c.lookOn(ctx)
	case fromCount:
		if from.n > 0 {
			c.oldest = true // if there are fewer
			var state State
			if state, err = log.State(ctx); err == nil {
				c.pos, err = log.Back(ctx, c.filters, from.n, head)
				c.pos = min(head, max(c.pos, state.First-1))
			}
		}
	case fromTime:
		var seq uint64
		c.oldest = true
		seq, err = log.At(ctx, from.time)
		c.pos = min(head, seq-1)
	}
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return err
}

// printable returns an id that a client sent if it can stand in an event's id,
// and is short; otherwise nothing.
func printable(id string) string {
	const enough = 200
	if len(id) > enough || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ""
	}
	return id
}
