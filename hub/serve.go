package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/tidings/internal/delivery"
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
	out, err := h.begin(w, r, sub)
	if out == nil {
		return err
	}
	return out.serve()
}

// begin finds where a stream begins, and returns nil if it has refused the request or
// taken the connection over. Its frame is large: it does not stay on the stack while the
// stream goes on.
func (h *Hub) begin(w http.ResponseWriter, r *http.Request, sub Subscription) (*output, error) {
	if sub.LastEventID == "" {
		sub.LastEventID = sse.LastEventID(r)
	}
	c, place, err := h.open(r.Context(), sub)
	if err != nil {
		h.refuse(w, r, sub, err)
		return nil, err
	}
	if taken, err := h.takeOver(w, r, c, place, sub); taken {
		place.leave()
		return nil, err
	}
	return h.newOutput(w, r, c, place, sub), nil
}

// An output is a response of net/http that the handler's goroutine writes a stream to.
type output struct {
	w    http.ResponseWriter
	r    *http.Request
	hub  *Hub
	task *delivery.Task
	sse  sse.ServeOptions
	opening
	place *place
	begun func() bool // ends the time that the headers have

	rc       *http.ResponseController
	mu       sync.Mutex
	returned bool // the handler: net/http forbids to use the response after that
}

func (h *Hub) newOutput(w http.ResponseWriter, r *http.Request, c *cursor, place *place, sub Subscription) *output {
	out := &output{
		w: w, r: r, hub: h,
		sse:   sse.ServeOptions{KeepAlive: -1, WriteTimeout: -1, Logger: h.opts.Logger},
		place: place, rc: http.NewResponseController(w),
		opening: opening{cursor: c, sub: sub, remote: h.engine.remoteOf(r), frames: []delivery.Frame{h.openFrame(c, sub, nil)}},
		begun:   func() bool { return true },
	}
	out.task = h.engine.group.NewTask(delivery.Writer, out.abort)
	if h.opts.WriteTimeout > 0 { // for the headers; then the engine measures the time
		out.begun = time.AfterFunc(h.opts.WriteTimeout, out.abort).Stop
	}
	return out
}

// serve writes the stream.
func (out *output) serve() error {
	defer out.leave()
	return sse.ServeText(out.w, out.r, out.texts, &out.sse)
}

// leave is called when the handler returns.
func (out *output) leave() {
	out.begun()
	out.place.leave()
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
	if !out.hub.engine.openTask(out.task, &out.opening) {
		yield(nil, ErrClosed)
		return
	}
	defer context.AfterFunc(out.r.Context(), out.task.Leave)()
	defer out.task.Leave()
	for out.task.Next() {
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
	if err := out.ended(); err != nil {
		yield(nil, err)
	}
}

// ended returns why the response is to be broken off, or nil if it is complete.
func (out *output) ended() error {
	reason, clean, err := out.task.Outcome()
	switch {
	case out.r.Context().Err() != nil || clean:
		if timeout := out.hub.opts.WriteTimeout; timeout > 0 { // for what net/http ends the response with
			out.rc.SetWriteDeadline(time.Now().Add(timeout))
		}
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("hub: the stream was broken off: %s", reason)
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
	at := c.timeline.position(c.begins()).String()
	ev := sse.Event{Type: OpenEventType, Retry: h.opts.Retry, ID: at, Data: toJSON(openData{sub.Topics, at})}
	if gap := c.gap; gap != nil {
		ev.ID = gap.After
		if ev.ID == "" {
			ev.ID = "unknown" // is malformed, as the client's is
		}
	}
	return ev
}

// openFrame returns the first event of a stream as a frame, after the head of a response
// that net/http does not write.
func (h *Hub) openFrame(c *cursor, sub Subscription, head []byte) delivery.Frame {
	return &eventFrame{position: c.begins(), chunk: append(head, chunk(h.openEvent(c, sub))...)}
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
