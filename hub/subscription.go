package hub

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/delivery"
	"example.com/tidings/internal/dispatch"
	"example.com/tidings/internal/quote"
	"example.com/tidings/internal/window"
	"example.com/tidings/topics"
)

// The bounds of a subscription.
const (
	// MaxFilters is how many filters one subscription may have.
	MaxFilters = 100

	// MaxStars is how many tokens of one of these filters may be *. A last ** does not count.
	// It bounds in how many places the hub looks for the subscribers of a message: 9,401 for
	// a topic of 16 tokens. Without it there would be 131,071. What only reads, such as
	// [Hub.History] and [Hub.Topics], takes any filter.
	MaxStars = 4

	// MaxFromCount is how many of the newest messages a subscription may begin with. The
	// hub has to find them before it can send the first event.
	MaxFromCount = 100_000
)

// A Subscription says what a subscriber wants. The hub authorises nothing: whoever fills in
// the filters decides what the subscriber may read.
type Subscription struct {
	// Filters select the topics, 1 to [MaxFilters] with up to [MaxStars] tokens * each. A
	// message that several of them match comes once.
	Filters []topics.Filter

	// From says where to begin. The zero value is now: the subscriber gets messages that
	// are published after the subscription has begun.
	From From

	// LastEventID, if not empty, is the id of the last event that the subscriber has. It
	// wins over From. It is untrusted input: an id that the hub cannot use makes a gap,
	// with a reason from [sse.GapExpired] to [sse.GapMalformed], and never an error. If it
	// is empty, ServeEvents takes that of the request.
	LastEventID string

	// Live has the subscriber told that it has caught up, once, by an event of the type
	// [LiveEventType]. The event comes as soon as the subscriber has been sent every message that
	// was stored when the subscription began, on any hub of the log. Later messages may come
	// before it. Its id is the position up to which the subscriber has everything. With
	// [FromLast] the subscriber then has a message of each topic that had one.
	Live bool

	// Lag says what happens when the subscriber falls behind.
	Lag Lag

	// Format is the form of the events of ServeEvents.
	Format Format

	// Subject says who subscribes, as in key:shop. It may be empty. [Hub.Disconnect] and
	// [Hub.Revoke] end the streams of a subject.
	Subject string

	// Issued is when the subscriber's credential was made, or zero if that is unknown. See
	// [Hub.Revoke].
	Issued time.Time

	// Authorized is when the caller began to decide that the subscriber may read, or zero for when
	// the hub gets the subscription. A stream that opens late ends if its subject was disconnected
	// after that.
	Authorized time.Time

	// Until is when the subscriber may no longer read the topics. The stream ends then with
	// [EndExpired], or up to a tenth of the time that was left later, at most 30 seconds, so that
	// not all clients come back at once. Zero means that the stream goes on. With a Subject, NoEnd
	// has to say so: an end that was forgotten must not mean for ever.
	//
	// The deadline of the request's context ends a stream of ServeEvents, too.
	Until time.Time
	NoEnd bool

	// Session, if not nil, ends the stream with [EndRevoked] when it is done. Unlike the context of
	// a request, which net/http cancels, it counts also for a connection that is taken over.
	Session context.Context

	ending *dispatch.End // of tests; wins over Until
}

// check refuses what no stream can have.
func (s *Subscription) check() error {
	if s.Subject != "" && s.Until.IsZero() && !s.NoEnd {
		return errors.New("hub: a subscription with a Subject has neither Until nor NoEnd")
	}
	return nil
}

// authorizedBy sets Authorized if the caller has not.
func (s *Subscription) authorizedBy(now time.Time) {
	if s.Authorized.IsZero() {
		s.Authorized = now
	}
}

// end returns when the stream ends, or nil if it goes on.
func (s *Subscription) end() *dispatch.End {
	if s.ending != nil || s.Until.IsZero() {
		return s.ending
	}
	spread := min(30*time.Second, max(0, time.Until(s.Until)/10))
	return &dispatch.End{Until: s.Until.Add(rand.N(spread + 1)), Reason: delivery.Expired}
}

// until returns when the subscriber may no longer read, with a context whose deadline counts, too, or
// zero.
func (s *Subscription) until(ctx context.Context) time.Time {
	if at, ok := ctx.Deadline(); ok && (s.Until.IsZero() || at.Before(s.Until)) {
		return at
	}
	return s.Until
}

// endWith is end for a stream that also ends at the deadline of a context.
func (s *Subscription) endWith(ctx context.Context) *dispatch.End {
	end := s.end()
	if at, ok := ctx.Deadline(); ok && (end == nil || at.Before(end.Until)) {
		end = &dispatch.End{Until: at, Reason: delivery.Expired}
	}
	return end
}

// Lag says what happens to a subscriber that falls further behind than the hub's window.
type Lag int

const (
	LagReplay Lag = iota // it reads from the log, and misses nothing that is retained
	LagSkip              // it gets a gap, and goes on with the newest message
)

// ParseLag parses "replay", "skip" or, for the default, "". The error is an
// [*InvalidError].
func ParseLag(s string) (Lag, error) {
	switch s {
	case "", "replay":
		return LagReplay, nil
	case "skip":
		return LagSkip, nil
	}
	return 0, invalid("lag", "%s is not known: it is replay or skip", quote.Short(s))
}

// Format is the form in which a subscriber gets messages.
type Format int

const (
	FormatData     Format = iota // the message's type and data
	FormatEnvelope               // no type, and the JSON of an [Event] as data
)

// These do not compile if the numbers of a Format and of package window differ.
var (
	_ = [1]int{}[FormatData-Format(window.Data)]
	_ = [1]int{}[FormatEnvelope-Format(window.Envelope)]
)

// ParseFormat parses "data", "envelope" or, for the default, "". The error is an
// [*InvalidError].
func ParseFormat(s string) (Format, error) {
	switch s {
	case "", "data":
		return FormatData, nil
	case "envelope":
		return FormatEnvelope, nil
	}
	return 0, invalid("format", "%s is not known: it is data or envelope", quote.Short(s))
}

// From says where a subscription without a last event ID begins. It is comparable. The zero
// value is now.
type From struct{ start dispatch.Start }

// FromStart begins with the oldest retained message.
func FromStart() From { return From{dispatch.Start{Kind: dispatch.StartOldest}} }

// FromLast begins with the newest message of each topic that a filter matches, in the order
// in which they were stored. The hub looks for them in pieces, as the subscriber takes them.
// If a topic gets a newer message before its turn, that one comes instead, later.
func FromLast() From { return From{dispatch.Start{Kind: dispatch.StartLast}} }

// FromCount begins with the newest n messages that a filter matches, 0 to [MaxFromCount].
// A negative n counts as 0. With a larger n the subscription fails with an
// [*InvalidError].
func FromCount(n int) From {
	return From{dispatch.Start{Kind: dispatch.StartCount, N: max(0, n)}}
}

// FromPosition begins after an event, as the same id in LastEventID does.
func FromPosition(id eventlog.Position) From {
	return From{dispatch.Start{Kind: dispatch.StartAfter, ID: id}}
}

// FromTime begins with the oldest retained message that was stored at t or later.
func FromTime(t time.Time) From {
	return From{dispatch.Start{Kind: dispatch.StartTime, Time: t.UTC()}}
}

// ParseFrom parses "now", "start", "last", a number of messages up to [MaxFromCount], an
// event's id, a time as in RFC 3339 or, for the default, "". The error is an
// [*InvalidError].
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
			n = math.MaxInt // the number is too large for an int
		}
		from := FromCount(n)
		if err := from.check(); err != nil {
			return From{}, err
		}
		return from, nil
	}
	if p, err := eventlog.ParsePosition(s); err == nil {
		return FromPosition(p), nil
	}
	// RFC 3339, section 5.6, allows lower case. A + in a query that was not encoded
	// arrives as a space.
	if t, err := time.Parse(time.RFC3339, strings.ToUpper(strings.Replace(s, " ", "+", 1))); err == nil {
		return FromTime(t), nil
	}
	return From{}, invalid("from", "%s is not known: it is now, start, last, a number of messages, an event's id, or a time such as 2026-01-31T12:00:00Z", quote.Short(s))
}

// check refuses what no subscription can begin with.
func (f From) check() error {
	if f.start.Kind == dispatch.StartCount && f.start.N > MaxFromCount {
		return invalid("from", "is too large a number: a subscription begins with the newest %d messages at most", MaxFromCount)
	}
	return nil
}
