package hub

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/sse"
)

const (
	// readTime is how long a response stays open after its last event. Some clients drop what
	// they have not read when a response breaks off: curl does over HTTP/2.
	readTime = 300 * time.Millisecond

	// mostWaiting is how many answers of ServeUnavailable stay open for it at a time, or one for each
	// streamsForOne that the hub takes, if those are fewer. Others break off at once: each
	// holds a descriptor, and there may be few left.
	mostWaiting   = 64
	streamsForOne = 32
)

// ServeUnavailable answers a request for a stream that cannot be taken just now. A client that
// accepts text/event-stream gets a 200 with one event of the type [UnavailableEventType]. The
// event has a time after which to try again, of one to four times [Options.Retry], so that not
// all clients come back at once. If the client has sent a last event ID that is one of a hub,
// the event has the same id. Some 300 ms later ServeUnavailable breaks the response off, or
// earlier if there are very many such answers.
//
// Clients that reconnect at all do so after that. An EventSource takes any other status for
// final (WHATWG HTML 9.2.3), and several libraries a response that is complete. Other clients
// get a 503 with Retry-After.
func (h *Hub) ServeUnavailable(w http.ResponseWriter, r *http.Request) {
	if !sse.Accepts(r) {
		w.Header().Set("Retry-After", h.RetryAfter())
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // others may need the place
		}
		http.Error(w, tryLater, http.StatusServiceUnavailable)
		return
	}
	sse.Serve(w, r, func(yield func(sse.Event, error) bool) {
		if yield(h.unavailableEvent(lastEventID(r)), nil) {
			h.wait(r.Context())
			yield(sse.Event{}, errBrokenOff)
		}
	}, &sse.ServeOptions{KeepAlive: -1, WriteTimeout: h.opts.WriteTimeout, Logger: h.opts.Logger})
}

// tryLater is told to a client that does not accept text/event-stream.
const tryLater = "The server cannot take another stream now. Try again later."

// errBrokenOff ends the sequence of ServeUnavailable, so that the response breaks off.
var errBrokenOff = errors.New("hub: no subscription can be taken just now")

// retryLater returns a time after which a client tries again that the hub cannot serve now.
func (h *Hub) retryLater() time.Duration { return h.opts.Retry + rand.N(3*h.opts.Retry+1) }

// RetryAfter returns the value of the header Retry-After for a client that cannot be served now:
// one to four times [Options.Retry] at random, in whole seconds, so that not all clients come back
// at once.
func (h *Hub) RetryAfter() string {
	return strconv.Itoa(int((h.retryLater() + time.Second - 1) / time.Second))
}

// unavailableEvent returns the only event for a client whose stream cannot be taken now. lastID is
// the id that the client has sent.
func (h *Hub) unavailableEvent(lastID string) sse.Event {
	ev := sse.Event{Type: UnavailableEventType, Retry: h.retryLater(), Data: "{}"}
	if id, err := eventlog.ParsePosition(lastID); err == nil {
		ev.ID = id.String()
	}
	return ev
}

// wait calls letRead, unless many goroutines wait already.
func (h *Hub) wait(ctx context.Context) {
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) <= int64(max(1, min(mostWaiting, h.opts.MaxSubscribers/streamsForOne))) {
		letRead(ctx)
	}
}

// letRead returns after readTime, or when ctx is done.
func letRead(ctx context.Context) {
	timer := time.NewTimer(readTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
