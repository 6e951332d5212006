package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"example.com/tidings/internal/delivery"
	"example.com/tidings/internal/dispatch"
	"example.com/tidings/internal/quote"
	"example.com/tidings/internal/window"
	"example.com/tidings/sse"
)

// The types of the hub's own events. None of them reaches an EventSource's onmessage.
const (
	// OpenEventType is the type of the first event of each stream. It tells the position
	// where the stream begins.
	OpenEventType = "tidings.open"

	// PositionEventType is the type of the keep-alive that tells a subscriber how far the
	// log has gone on without a message for it.
	PositionEventType = "tidings.position"

	// LiveEventType is the type of the event that tells a subscriber that it has caught up, if
	// its subscription asks for that: see [Subscription.Live].
	LiveEventType = "tidings.live"

	// EndEventType is the type of the last event of a stream that the hub ends. Its data is
	// an object whose reason is that of an [EndError]. Its id is the stream's position.
	EndEventType = "tidings.end"

	// UnavailableEventType is the type of the only event of a stream that the hub cannot take
	// just now.
	UnavailableEventType = "tidings.unavailable"
)

// ServeEvents answers r with the messages that a subscription asks for, as server-sent
// events. It returns when the stream has ended, as [sse.Serve] does. The subscription goes
// on after the request's Last-Event-ID if it has one, or after the id in the parameter
// lastEventId of its URL.
//
// The hub does not check whether the client may read the topics. The caller does that
// first.
//
// The stream begins with an event of the type [OpenEventType], whose id is the position just
// before the first message. Where messages are missing it has an event of the type
// [sse.GapEventType]. Each message is an event with an id.
//
// When the hub ends the stream, the last event is one of the type [EndEventType]. Then the
// response breaks off, and ServeEvents returns an [*EndError]: several clients take a complete
// response for the last word. If the client does not take that event, the response breaks off
// without it. So it does if the log fails. A stream ends with [EndLimit] if its client
// has taken nothing for Options.WriteTimeout, if it takes too little of what the hub holds for it
// while others need the room (see Options.ClientBytes), or if it sends more than 64 KiB after its
// request.
//
// With [Options.TakeOver] ServeEvents returns at once where it takes the connection over: a
// GET over HTTP/1.1 without TLS, on Linux, where no wrapper of w hides Hijack. The stream
// goes on without net/http, with the same events, and takes some 50 bytes until there is
// something to send. Code around ServeEvents sees a difference. The request's context ends,
// and deferred functions and middlewares see a request that took microseconds. A wrapper of
// w does not see the headers or the body, but the hub sends what w.Header() holds. ConnState
// reports StateHijacked. http.Server.Shutdown does not wait for the stream, but [Hub.Close]
// does. The connection ends with the stream.
//
// If the subscription cannot begin, ServeEvents answers and returns why: 400 for an
// [*InvalidError], 401 for an [*EndError] with [EndRevoked], and otherwise as [Hub.ServeUnavailable] does. [Hub.EventsHandler] leaves that
// answer to the caller.
func (h *Hub) ServeEvents(w http.ResponseWriter, r *http.Request, sub Subscription) error {
	s, err := h.begin(r, sub)
	if err != nil {
		h.refuse(w, r, err)
		return err
	}
	return s.serve(w, r)
}

// EventsHandler returns the handler that answers r as [Hub.ServeEvents] does, or an error if the
// subscription cannot begin: that of [Hub.Subscribe]. Then nothing was answered. The handler
// is called once, with r. It counts as a subscriber until it returns, or the request ends.
func (h *Hub) EventsHandler(r *http.Request, sub Subscription) (http.Handler, error) {
	s, err := h.begin(r, sub)
	if err != nil {
		return nil, err
	}
	s.unwatch = context.AfterFunc(r.Context(), s.abandon)
	return s, nil
}

// A stream is a response that has not begun yet. It is an http.Handler.
type stream struct {
	hub    *Hub
	cursor *dispatch.Cursor
	seat   *seat
	sub    Subscription
	shard  *delivery.Shard // nil, or has a place for the connection

	unwatch func() bool // nil for ServeEvents
}

// abandon gives back what a stream has that is never served.
func (s *stream) abandon() {
	if s.shard != nil {
		s.shard.Yield()
	}
	s.seat.giveBack()
}

// begin finds where a stream begins.
func (h *Hub) begin(r *http.Request, sub Subscription) (*stream, error) {
	if sub.LastEventID == "" {
		sub.LastEventID = lastEventID(r)
	}
	sub.authorizedBy(time.Now())
	c, seat, err := h.admit(r.Context(), sub)
	if err != nil {
		return nil, err
	}
	s := &stream{hub: h, cursor: c, seat: seat, sub: sub}
	if err := s.reserve(r); err != nil {
		seat.giveBack()
		return nil, err
	}
	if s.shard == nil && !seat.keepRequest(r) {
		seat.giveBack()
		return nil, ErrUnavailable
	}
	return s, nil
}

// lastEventID returns the id after which a client wants to go on: that of its header, or else of
// the parameter lastEventId. A library that appends the parameter to its URL when it reconnects
// may find one there, so the last one counts.
func lastEventID(r *http.Request) string {
	if id := sse.LastEventID(r); id != "" {
		return id
	}
	if ids := r.URL.Query()["lastEventId"]; len(ids) > 0 {
		return ids[len(ids)-1]
	}
	return ""
}

// ServeHTTP implements [http.Handler].
func (s *stream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.unwatch() { // otherwise the request has ended, or it was called before
		s.serve(w, r)
	}
}

// serve writes the stream, or takes the connection over for it.
func (s *stream) serve(w http.ResponseWriter, r *http.Request) error {
	out, err := s.output(w, r)
	if out == nil {
		return err
	}
	return out.serve()
}

// output returns nil if the connection was taken over. Its stack frame is large, and does
// not stay while the stream goes on.
func (s *stream) output(w http.ResponseWriter, r *http.Request) (*output, error) {
	reserved := s.shard != nil
	if taken, err := s.takeOver(w, r); taken {
		s.seat.leave()
		return nil, err
	}
	if reserved && !s.seat.keepRequest(r) {
		s.seat.leave()
		s.hub.ServeUnavailable(w, r)
		return nil, ErrUnavailable
	}
	return s.newOutput(w, r), nil
}

// opening returns what the stream begins with.
func (s *stream) opening(r *http.Request) dispatch.Opening {
	open := s.cursor.OpenEvent(s.sub.Filters, s.sub.until(r.Context()))
	return dispatch.Opening{
		Cursor: s.cursor,
		Form:   uint8(s.sub.Format),
		First:  []delivery.Frame{&window.Notice{At: s.cursor.Begins(), Chunk: window.Chunk(open)}},
		ID:     open.ID,
		Remote: r.RemoteAddr,
		End:    s.sub.endWith(r.Context()),
		Holder: dispatch.Holder{Subject: s.sub.Subject, Issued: s.sub.Issued, Since: s.sub.Authorized, Session: s.sub.Session},
	}
}

// An output is a response of net/http that the handler's goroutine writes a stream to.
type output struct {
	w       http.ResponseWriter
	r       *http.Request
	hub     *Hub
	task    *delivery.Task
	sse     sse.ServeOptions
	opening dispatch.Opening
	seat    *seat
	release func()      // frees what withoutDeadline has made
	begun   func() bool // stops the timer that bounds the writing of the headers

	rc       *http.ResponseController
	mu       sync.Mutex
	returned bool // the handler: net/http forbids to use the response after that
}

func (s *stream) newOutput(w http.ResponseWriter, r *http.Request) *output {
	opening := s.opening(r)
	r, release := withoutDeadline(r)
	out := &output{
		w: w, r: r, release: release, hub: s.hub, seat: s.seat, opening: opening,
		sse:   sse.ServeOptions{KeepAlive: -1, WriteTimeout: -1, Logger: s.hub.opts.Logger},
		rc:    http.NewResponseController(w),
		begun: func() bool { return true },
	}
	if r.ProtoMajor > 1 && r.Body != nil {
		r.Body.Close() // or net/http would hold what the client sends
	}
	out.task = s.hub.streams.NewTask(delivery.Writer, out.abort)
	if timeout := s.hub.opts.WriteTimeout; timeout > 0 { // for the headers; later the shard measures the time
		out.begun = time.AfterFunc(timeout, out.abort).Stop
	}
	return out
}

// withoutDeadline returns a request whose context is done when that of r is, but for its deadline:
// the shard ends the stream then, and the client is told. release is called at the end.
func withoutDeadline(r *http.Request) (_ *http.Request, release func()) {
	ctx := r.Context()
	if _, ok := ctx.Deadline(); !ok {
		return r, func() {}
	}
	free, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if ctx.Err() != context.DeadlineExceeded {
			cancel(context.Cause(ctx))
		}
	})
	return r.WithContext(free), func() {
		stop()
		cancel(nil)
	}
}

// serve writes the stream.
func (out *output) serve() error {
	defer out.leave()
	return sse.ServeText(out.w, out.r, out.texts, &out.sse)
}

// leave is called when the handler returns.
func (out *output) leave() {
	out.begun()
	out.release()
	out.seat.leave()
	out.mu.Lock()
	defer out.mu.Unlock()
	out.returned = true
}

// past is a deadline at which nothing can be written any more.
var past = time.Unix(1, 0)

// abort breaks off the writing. It is for any goroutine.
func (out *output) abort() {
	out.mu.Lock()
	defer out.mu.Unlock()
	if !out.returned {
		out.rc.SetWriteDeadline(past)
	}
}

// pieceBytes is how much of a large event is written under one write timeout.
const pieceBytes = 256 << 10

// texts yields what the task is handed, until its stream ends.
func (out *output) texts(yield func([]byte, error) bool) {
	out.begun()
	if !out.hub.streams.OpenTask(out.task, &out.opening) {
		out.tooLate(yield)
		return
	}
	defer context.AfterFunc(out.r.Context(), out.task.Leave)()
	defer out.task.Leave()
	opened := false
	for out.task.Next() {
		opened = true
		text := out.task.Text()
		for ; len(text) > pieceBytes; text = text[pieceBytes:] {
			if !yield(text[:pieceBytes], nil) {
				return
			}
			out.task.Progress()
		}
		if !yield(text, nil) {
			return
		}
	}
	out.task.Leave() // before the response is used for anything that may wait
	reason, _ := out.task.Outcome()
	if reason == delivery.Cut && !opened {
		out.tooLate(yield)
		return
	}
	if err := out.ended(); err != nil {
		if reason >= delivery.Stopping {
			letRead(out.r.Context())
		}
		yield(nil, err)
	}
}

// tooLate ends a stream that cannot be opened any more, as ServeUnavailable does. Its headers
// are sent.
func (out *output) tooLate(yield func([]byte, error) bool) {
	text, err := out.hub.unavailableEvent(lastEventID(out.r)).AppendText(nil)
	if yield(text, err) {
		out.hub.wait(out.r.Context())
		yield(nil, ErrUnavailable)
	}
}

// ended returns why the response is to be broken off, or nil if it is complete.
func (out *output) ended() error {
	reason, err := out.task.Outcome()
	if err == nil {
		err = endError(reason)
	}
	if end, ok := errors.AsType[*EndError](err); !ok || end.Reason != EndFinished {
		if ctx := out.r.Context(); ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	if timeout := out.hub.opts.WriteTimeout; timeout > 0 { // for what net/http ends the response with
		out.rc.SetWriteDeadline(time.Now().Add(timeout))
	}
	return nil
}

// refuse answers a request for a stream that cannot begin.
func (h *Hub) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if invalid, ok := errors.AsType[*InvalidError](err); ok {
		http.Error(w, fmt.Sprintf("The %s %s.", invalid.Field, invalid.Reason), http.StatusBadRequest)
		return
	}
	if _, ok := errors.AsType[*EndError](err); ok {
		http.Error(w, "The subscriber is revoked.", http.StatusUnauthorized)
		return
	}
	if !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrBusy) {
		h.opts.Logger.ErrorContext(r.Context(), "hub: a stream could not begin", "path", quote.Redact(r.URL.Path), "error", err)
	}
	h.ServeUnavailable(w, r)
}
