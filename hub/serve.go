package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"example.com/tidings/sse"
)

// The types of the events that are the hub's own. None of them reaches an
// EventSource's onmessage.
const (
	// OpenEventType is that of the first event of each stream, which tells the
	// position where it begins.
	OpenEventType = ReservedPrefix + "open"

	// PositionEventType is that of the keep-alive which tells a subscriber, to
	// whom nothing was sent for a while, how far the log has gone on meanwhile.
	PositionEventType = ReservedPrefix + "position"
)

// keepAlive is sent when there is nothing to tell.
var keepAlive = sse.Event{Comment: "keep-alive"}

// ServeEvents answers r with the messages that a subscription asks for, as
// server-sent events, and returns when the stream has ended, as [sse.Serve] does.
// The subscription goes on after the request's Last-Event-ID if it has one.
//
// The topics must be such as the client may read: to authorise it is the
// caller's part, and comes before.
//
// The stream begins with an event of the type [OpenEventType], whose id is the
// position just before the first message. Where messages are missing it has an
// event of the type [sse.GapEventType]. Each message is an event with an id.
//
// With [Options.TakeOver] ServeEvents returns at once where it takes the connection
// over: a GET over HTTP/1.1 without TLS, on Linux, where no wrapper of w hides
// Hijack. The stream goes on without net/http, in some 50 bytes until there is
// something to send, and with the same events. What is different is what stands around it: the
// request's context ends, deferred functions and middlewares see a request that took
// microseconds, what a wrapper of w would do with the headers or the body does not
// happen (what w.Header() holds is sent), ConnState says StateHijacked, and
// http.Server.Shutdown does not wait: [Hub.Close] does. The response has "Connection:
// close".
//
// Where the subscription cannot begin, ServeEvents answers by itself and returns
// why, unless Subscription.Refuse does: 400 or 403 for what is wrong with it. When
// it is only that it cannot be taken just now, see [Hub.ServeUnavailable].
func (h *Hub) ServeEvents(w http.ResponseWriter, r *http.Request, sub Subscription) error {
	if sub.LastEventID == "" {
		sub.LastEventID = sse.LastEventID(r)
	}
	c, place, err := h.open(r.Context(), sub)
	if err != nil {
		h.refuse(w, r, sub, err)
		return err
	}
	if taken, err := h.takeOver(w, r, c, place, sub); taken {
		return err
	}
	place.watch(r.Context())
	defer place.leave()
	defer h.begin(r, sub)()
	g := newGatherer(w)
	defer g.release()
	err = sse.Serve(g, r, h.events(r.Context(), c, sub, &g.more), &sse.ServeOptions{
		// The sequence keeps the stream alive itself, unless the log is slow.
		KeepAlive:      h.opts.KeepAlive + h.opts.KeepAlive/4,
		KeepAliveEvent: keepAlive,
		WriteTimeout:   h.opts.WriteTimeout,
		Logger:         h.opts.Logger,
	})
	if _, broken := errors.AsType[*sse.WriteError](err); err != nil && !broken && r.Context().Err() == nil {
		h.opts.Logger.ErrorContext(r.Context(), "hub: a stream failed", "topics", sub.Topics, "error", err)
	}
	return err
}

// events returns a cursor's items as they stand on the wire. Before each, more is
// set to whether another comes at once.
func (h *Hub) events(ctx context.Context, c *cursor, sub Subscription, more *atomic.Bool) iter.Seq2[sse.Event, error] {
	return func(yield func(sse.Event, error) bool) {
		if !yield(h.openEvent(c, sub), nil) {
			return
		}
		told := c.place().Seq // the client's last event ID, in effect
		err := c.run(ctx, h.opts.KeepAlive, func(it item) bool {
			var ev sse.Event
			at := c.pos
			switch {
			case it.entry != nil:
				ev, at = it.entry.wire(sub.Format), it.entry.Seq
			case it.gap != nil:
				ev = gapEvent(it.gap)
			case at == told:
				ev = keepAlive
			default:
				ev = positionEvent(c.timeline, at)
			}
			told = at
			more.Store(it.more)
			return yield(ev, nil)
		})
		if err != nil {
			yield(sse.Event{}, err)
		}
	}
}

// wire returns the message as an event. What is acknowledged is dispatched: an
// event without type and data would not be (WHATWG HTML 9.2.6).
func (e *entry) wire(f Format) sse.Event {
	if f == FormatEnvelope {
		return sse.Event{ID: e.id, Data: e.json()}
	}
	ev := sse.Event{ID: e.id, Type: e.Type, Data: e.Data}
	if ev.Type == "" && ev.Data == "" {
		ev.Type = e.eventType()
	}
	return ev
}

// openData and positionData are the data of the hub's own events.
type (
	openData struct {
		Topics   []string `json:"topics"`
		Position string   `json:"position"`
	}
	positionData struct {
		Position string `json:"position"`
	}
)

// gapEvent returns a gap as an event, whose id is where the client, which has been told
// then, goes on.
func gapEvent(gap *sse.GapError) sse.Event {
	ev := gap.Event()
	ev.ID = gap.Next
	return ev
}

// positionEvent returns the keep-alive which says how far the log has gone on.
func positionEvent(names timeline, seq uint64) sse.Event {
	id := names.position(seq).String()
	return sse.Event{Type: PositionEventType, Data: toJSON(positionData{id}), ID: id}
}

// openEvent returns the first event of a stream. Its id is where the stream
// begins, so that a client which is cut before the first message resumes there.
// Where a gap comes next it is the client's own id, so that one which is cut
// before the gap is told of it again.
func (h *Hub) openEvent(c *cursor, sub Subscription) sse.Event {
	at := c.place().String()
	ev := sse.Event{Type: OpenEventType, Retry: h.opts.Retry, ID: at, Data: toJSON(openData{sub.Topics, at})}
	if gap := c.first.gap; gap != nil {
		ev.ID = gap.After
		if ev.ID == "" {
			ev.ID = "unknown" // is malformed, as the client's is
		}
	}
	return ev
}

// refuse answers where a subscription cannot begin.
func (h *Hub) refuse(w http.ResponseWriter, r *http.Request, sub Subscription, err error) {
	if sub.Refuse != nil {
		sub.Refuse(w, r, err)
		return
	}
	invalid, ok := errors.AsType[*InvalidError](err)
	switch {
	case ok:
		http.Error(w, fmt.Sprintf("The %s %s.", invalid.Field, invalid.Reason), http.StatusBadRequest)
	case errors.Is(err, ErrReserved):
		http.Error(w, "What begins with "+ReservedPrefix+" is the hub's own.", http.StatusForbidden)
	default:
		if !errors.Is(err, ErrUnavailable) {
			h.opts.Logger.ErrorContext(r.Context(), "hub: a stream could not begin", "topics", r.URL.Query()["topic"], "error", err)
		}
		h.ServeUnavailable(w, r)
	}
}

// ServeUnavailable answers a request for a stream that cannot be taken just now.
// An EventSource, or whoever else accepts text/event-stream, gets a 200 with
// nothing but the time after which to try again, since it would take any other
// status for final (WHATWG HTML 9.2.3); everyone else gets a 503 with
// Retry-After. The time varies, so that not all come back at once.
func (h *Hub) ServeUnavailable(w http.ResponseWriter, r *http.Request) {
	wait := h.opts.Retry + rand.N(3*h.opts.Retry+1)
	header := w.Header()
	if !AcceptsEvents(r) {
		header.Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
		http.Error(w, "No stream can be taken just now. Try again later.", http.StatusServiceUnavailable)
		return
	}
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-cache")
	header.Set("Connection", "close")
	// No blank line follows, for which some clients would dispatch an event.
	io.WriteString(w, "retry: "+strconv.FormatInt(wait.Milliseconds(), 10)+"\n")
}

// AcceptsEvents reports whether a request says that it accepts text/event-stream,
// as an EventSource does.
func AcceptsEvents(r *http.Request) bool {
	for _, value := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(value, ",") {
			mediaType, params, err := mime.ParseMediaType(part)
			if err != nil || mediaType != "text/event-stream" {
				continue
			}
			// A weight of 0 is "not acceptable" (RFC 9110, section 12.4.2).
			if q, err := strconv.ParseFloat(params["q"], 64); err != nil || q > 0 {
				return true
			}
		}
	}
	return false
}
