package hub

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/delivery"
	"example.com/tidings/internal/dispatch"
	"example.com/tidings/internal/window"
	"example.com/tidings/topics"
)

// An Event is a message as subscribers get it. Its JSON is the data of events in
// FormatEnvelope, and of the history.
type Event struct {
	ID    eventlog.Position `json:"id"`
	Topic string            `json:"topic"`
	Type  string            `json:"type"` // "message" if it was published without one
	Data  string            `json:"data"`
	Time  time.Time         `json:"time"`
}

// Subscribe returns the sequence of the messages that a subscription asks for: first the
// retained ones, then those that are published, each once and in order, without end. The
// sequence ends without an error when ctx is done.
//
// If the subscription asks for that, the sequence yields one event of the type [LiveEventType],
// without a topic, when it has caught up: see [Subscription.Live].
//
// Where messages are missing the sequence yields a [*sse.GapError] and goes on. Its Next is
// a position that continues at the same place if it is used as LastEventID. When the hub ends
// the stream, the last item is an [*EndError] with the reason, such as [EndStopping] when the
// hub is closed. Any other error is that of the log, and ends the sequence.
//
// The sequence is ranged once: ranged again, it ends at once without an error, also on
// another goroutine. To go on, subscribe again with the id of the last event. A slow consumer
// does not slow down others. Subscribe takes the position before it returns. The sequence or
// ctx must end, to release the subscription.
//
// Subscribe fails with an [*InvalidError], [ErrUnavailable], [ErrBusy] or an error of the log.
func (h *Hub) Subscribe(ctx context.Context, sub Subscription) (iter.Seq2[Event, error], error) {
	events, _, err := h.subscribe(ctx, sub)
	return events, err
}

// subscribe is Subscribe. It also returns the cursor, which belongs to the sequence as soon
// as that is ranged.
func (h *Hub) subscribe(ctx context.Context, sub Subscription) (iter.Seq2[Event, error], *dispatch.Cursor, error) {
	sub.authorizedBy(time.Now())
	c, seat, err := h.admit(ctx, sub)
	if err != nil {
		return nil, nil, err
	}
	seat.watch(ctx)
	var ranged atomic.Bool
	return func(yield func(Event, error) bool) {
		if ranged.Swap(true) {
			return // the cursor belongs to the first range
		}
		defer seat.leave()
		if ctx.Err() != nil {
			return
		}
		task := h.streams.NewTask(delivery.Iterator, nil)
		revoked := new(atomic.Bool)
		holder := dispatch.Holder{Subject: sub.Subject, Issued: sub.Issued, Since: sub.Authorized, Session: sub.Session, Revoked: revoked}
		end := sub.end()
		over := func() bool { return revoked.Load() || end != nil && !time.Now().Before(end.Until) }
		if !h.streams.OpenTask(task, &dispatch.Opening{Cursor: c, End: end, Holder: holder}) {
			yield(Event{}, &EndError{EndStopping})
			return
		}
		// A consumer that never comes back must not keep the stream, either.
		defer context.AfterFunc(ctx, task.Leave)()
		defer task.Leave()
		for task.Next() {
			for _, f := range task.Frames() {
				if over() {
					break // no more is delivered
				}
				ev, err := item(f)
				if ctx.Err() != nil || !yield(ev, err) {
					return
				}
			}
		}
		reason, err := task.Outcome()
		if err == nil {
			err = endError(reason)
		}
		if ctx.Err() == nil {
			yield(Event{}, err)
		}
	}, c, nil
}

// item returns what a subscription yields for a frame.
func item(f delivery.Frame) (Event, error) {
	switch f := f.(type) {
	case *window.Entry:
		if gap := f.Gap(); gap != nil {
			return Event{}, gap
		}
		return Event(f.Event()), nil
	case *window.Notice: // an iterator gets no other notices
		if f.Event != nil {
			return Event(*f.Event), nil
		}
		return Event{}, f.Gap
	}
	panic(fmt.Sprintf("hub: a subscription gets a %T", f))
}

// A seat is one of the subscribers that the hub admits, with what it costs. It is given back
// once.
type seat struct {
	hub     *Hub
	cursor  *dispatch.Cursor // has reserved room for the filters, until the stream begins
	booking *dispatch.Booking
	request int // bytes that net/http holds for the stream
	once    sync.Once
	unwatch func() bool
}

// watch has the end of a context give the seat back, too.
func (s *seat) watch(ctx context.Context) { s.unwatch = context.AfterFunc(ctx, s.giveBack) }

func (s *seat) leave() {
	if s.unwatch != nil {
		s.unwatch()
	}
	s.giveBack()
}

// keep makes leave do nothing: the end of the stream gives the seat back.
func (s *seat) keep() { s.once.Do(func() {}) }

func (s *seat) giveBack() {
	s.once.Do(func() {
		s.hub.subscribers.Add(-1)
		s.hub.budgets.Requests.Give(s.request)
		s.booking.Release()
		if s.cursor != nil {
			s.cursor.Release()
		}
	})
}

// admit takes a seat, which has to be given back, and finds where the subscription begins.
func (h *Hub) admit(ctx context.Context, sub Subscription) (*dispatch.Cursor, *seat, error) {
	if n := len(sub.Filters); n == 0 || n > MaxFilters {
		return nil, nil, invalid("filter", "is needed 1 to %d times, and was given %d times", MaxFilters, n)
	}
	if slices.Contains(sub.Filters, topics.Filter{}) {
		return nil, nil, invalid("filter", "is empty")
	}
	if costly := func(f topics.Filter) bool { return f.Stars() > MaxStars }; slices.ContainsFunc(sub.Filters, costly) {
		return nil, nil, invalid("filter", "has more than %d tokens *: use a final ** for the last ones, or several filters with a name in place of some", MaxStars)
	}
	if sub.Format != FormatData && sub.Format != FormatEnvelope {
		return nil, nil, invalid("format", "%d is not known", sub.Format)
	}
	if err := sub.From.check(); err != nil {
		return nil, nil, err
	}
	if err := sub.check(); err != nil {
		return nil, nil, err
	}
	if h.isClosed() {
		return nil, nil, ErrUnavailable
	}
	if sub.Subject != "" && h.Revoked(sub.Subject, sub.Issued) {
		return nil, nil, &EndError{EndRevoked}
	}
	booking := h.streams.Book(sub.Filters)
	if booking == nil {
		return nil, nil, ErrUnavailable
	}
	s := &seat{hub: h, booking: booking}
	if h.subscribers.Add(1) > int64(h.opts.MaxSubscribers) {
		s.giveBack()
		return nil, nil, ErrUnavailable
	}
	c, err := h.streams.Begin(ctx, dispatch.Request{
		Booking: s.booking, Start: sub.From.start, LastEventID: sub.LastEventID, Skip: sub.Lag == LagSkip, Live: sub.Live,
	})
	if err != nil {
		s.giveBack()
		if errors.Is(err, dispatch.ErrFull) {
			err = ErrUnavailable
		}
		return nil, nil, fmt.Errorf("hub: %w", err)
	}
	s.cursor = c
	return c, s, nil
}
