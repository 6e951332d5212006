package hub_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/memhttp"
	"example.com/tidings/topics"
)

// serveHub serves subscriptions of h over HTTP in memory.
func serveHub(t *testing.T, h *hub.Hub, sub hub.Subscription) *memhttp.Server {
	return memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeEvents(w, r, sub) }), nil)
}

// request sends a request whose response is not read yet.
func request(t *testing.T, s *memhttp.Server, method string, header ...string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, s.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := s.Client(t, false).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); res.Body.Close() })
	return res
}

// onTheWire are messages on orders.1 to x, after one that came before the stream, and
// what a stream of orders.* and x then is, byte for byte.
var onTheWire = struct {
	open     string
	messages []hub.Message
	data     []string
}{
	"event: tidings.open\nretry: R\ndata: {\"topics\":[\"orders.*\",\"x\"],\"position\":\"E-1\",\"keepAlive\":15000}\nid: E-1\n\n",
	[]hub.Message{
		{Topic: "orders.2", Data: "plain"},
		{Topic: "orders.2", Type: "status", Data: "a\nb\r\nc\rd"},
		{Topic: "other", Data: "not asked for"},
		{Topic: "orders.2", Data: ""},
		{Topic: "x", Type: "ping", Data: ""},
		{Topic: "x", Type: "message", Data: ""},
		{Topic: "x", Type: " é", Data: " <&>\u2028"},
	},
	[]string{
		"data: plain\nid: E-2\n\n",
		"event: status\ndata: a\ndata: b\ndata: c\ndata: d\nid: E-3\n\n",
		"data:\nid: E-5\n\n", // what is acknowledged is dispatched
		"event: ping\ndata:\nid: E-6\n\n",
		"data:\nid: E-7\n\n",
		"event:  é\ndata:  <&>\u2028\nid: E-8\n\n",
	},
}

// publishAll publishes messages.
func publishAll(t *testing.T, h *hub.Hub, messages []hub.Message) {
	t.Helper()
	for _, m := range messages {
		if _, err := h.Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
}

// The whole of a stream, byte for byte.
func TestOnTheWire(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		publish(t, h, "orders.1:before")
		synctest.Wait()
		w := open(t, serveHub(t, h, hub.Subscription{Filters: topics.MustFilters("orders.*", "x")}))
		w.want(t, onTheWire.open)
		publishAll(t, h, onTheWire.messages)
		for _, want := range onTheWire.data {
			w.want(t, want)
		}
		h.Drain()
		if id := w.end(t, hub.EndStopping, false); id != "E-8" {
			t.Errorf("the last event has the id %s", id)
		}
	})
}

func TestEnvelope(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		w := open(t, serveHub(t, h, hub.Subscription{Filters: topics.MustFilters("**"), Format: hub.FormatEnvelope}))
		w.want(t, "event: tidings.open\nretry: R\ndata: {\"topics\":[\"**\"],\"position\":\"E-0\",\"keepAlive\":15000}\nid: E-0\n\n")
		time.Sleep(1500 * time.Millisecond)
		publish(t, h, "a.b:<&> \"q\"\nline\rCR", "c:")
		h.Publish(t.Context(), hub.Message{Topic: "d", Type: "status", Data: `{"n":1}`})
		w.want(t, `data: {"id":"E-1","topic":"a.b","type":"message","data":"<&> \"q\"\nline\rCR","time":"2000-01-01T00:00:01.5Z"}`+"\nid: E-1\n\n")
		w.want(t, `data: {"id":"E-2","topic":"c","type":"message","data":"","time":"2000-01-01T00:00:01.5Z"}`+"\nid: E-2\n\n")
		w.want(t, `data: {"id":"E-3","topic":"d","type":"status","data":"{\"n\":1}","time":"2000-01-01T00:00:01.5Z"}`+"\nid: E-3\n\n")
	})
}

// A subscriber to whom nothing is sent for a while is told how far the log has
// gone on, and gets a comment when it has not.
func TestPositionEvents(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, &hub.Options{KeepAlive: 10 * time.Second})
		w := open(t, serveHub(t, h, hub.Subscription{Filters: topics.MustFilters("quiet")}))
		w.want(t, "event: tidings.open\nretry: R\ndata: {\"topics\":[\"quiet\"],\"position\":\"E-0\",\"keepAlive\":10000}\nid: E-0\n\n")
		start := time.Now()
		at := func(want time.Duration) {
			t.Helper()
			if got := time.Since(start); got != want {
				t.Errorf("this comes after %v, want %v", got, want)
			}
		}
		w.want(t, ": keep-alive\n")
		at(10 * time.Second)
		publish(t, h, numbered("busy", "", 30)...)
		w.want(t, "event: tidings.position\ndata: {\"position\":\"E-30\"}\nid: E-30\n\n")
		at(20 * time.Second)
		w.want(t, ": keep-alive\n")
		at(30 * time.Second)
		time.Sleep(5 * time.Second)
		publish(t, h, "busy:x", "quiet:y")
		w.want(t, "data: y\nid: E-32\n\n")
		at(35 * time.Second)
		w.want(t, ": keep-alive\n") // its own message was the newest
		at(45 * time.Second)
		publish(t, h, "busy:z")
		time.Sleep(5 * time.Second)
		publish(t, h, "busy:z")
		w.want(t, "event: tidings.position\ndata: {\"position\":\"E-34\"}\nid: E-34\n\n")
		at(55 * time.Second)
	})
}

// A subscriber that has not been handed everything is told no position.
func TestNoPositionForWhoIsBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, &hub.Options{KeepAlive: time.Second, WriteTimeout: time.Hour})
		w := open(t, serveHub(t, h, hub.Subscription{Filters: topics.MustFilters("a")}))
		synctest.Wait()
		publish(t, h, numbered("a", "", 50)...)
		time.Sleep(time.Minute) // it reads nothing
		publish(t, h, "b:1")
		time.Sleep(time.Minute)
		w.want(t, "event: tidings.open\nretry: R\ndata: {\"topics\":[\"a\"],\"position\":\"E-0\",\"keepAlive\":1000}\nid: E-0\n\n")
		for i := range 50 {
			w.want(t, fmt.Sprintf("data: %d\nid: E-%d\n\n", i, i+1))
		}
		w.want(t, "event: tidings.position\ndata: {\"position\":\"E-51\"}\nid: E-51\n\n")
	})
}

// After the first event comes the gap. A client that is cut between the two asks
// again with its own id, and one that is cut after it goes on from there.
func TestGapOnTheWire(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, eventlog.NewMemory(&eventlog.MemoryOptions{MaxAge: time.Hour}), &hub.Options{Window: 2})
		old := publish(t, h, numbered("a", "", 9)...)
		time.Sleep(2 * time.Hour)
		publish(t, h, "a:9", "a:10", "a:11")
		synctest.Wait()
		s := serveHub(t, h, hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromLast()})
		open := func(id string) *wire { return open(t, s, "Last-Event-ID", id) }

		w := open(old[3])
		w.want(t, "event: tidings.open\nretry: R\ndata: {\"topics\":[\"a\"],\"position\":\"E-4\",\"keepAlive\":15000}\nid: E-4\n\n")
		w.want(t, "event: tidings.gap\ndata: {\"reason\":\"expired\",\"after\":\"E-4\",\"next\":\"E-9\"}\nid: E-9\n\n")
		w.want(t, "data: 9\nid: E-10\n\n")
		open(old[8]).want(t, "event: tidings.open\nretry: R\ndata: {\"topics\":[\"a\"],\"position\":\"E-9\",\"keepAlive\":15000}\nid: E-9\n\ndata: 9\nid: E-10\n\n")

		w = open("000000000000-7")
		w.want(t, "event: tidings.open\nretry: R\ndata: {\"topics\":[\"a\"],\"position\":\"E-9\",\"keepAlive\":15000}\nid: E-7\n\n") // its own id
		w.want(t, "event: tidings.gap\ndata: {\"reason\":\"unknown\",\"after\":\"E-7\",\"next\":\"E-9\"}\nid: E-9\n\n")
		w.want(t, "data: 9\nid: E-10\n\n")

		w = open("17")
		w.want(t, "event: tidings.open\nretry: R\ndata: {\"topics\":[\"a\"],\"position\":\"E-9\",\"keepAlive\":15000}\nid: 17\n\n")
		w.want(t, "event: tidings.gap\ndata: {\"reason\":\"malformed\",\"after\":\"17\",\"next\":\"E-9\"}\nid: E-9\n\n")
		w.want(t, "data: 9\nid: E-10\n\n")

		w = open("\xff" + strings.Repeat("x", 10_000))
		w.want(t, "event: tidings.open\nretry: R\ndata: {\"topics\":[\"a\"],\"position\":\"E-9\",\"keepAlive\":15000}\nid: unknown\n\n")
		w.want(t, "event: tidings.gap\ndata: {\"reason\":\"malformed\",\"next\":\"E-9\"}\nid: E-9\n\n")
	})
}

// The header beats what the handler has chosen, so that one URL serves a first
// connection and all later ones.
func TestServeEventsResumes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		ids := publish(t, h, "a:1", "a:2", "a:3")
		synctest.Wait()
		s := serveHub(t, h, hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromStart()})
		w := open(t, s, "Last-Event-ID", ids[1])
		w.want(t, "event: tidings.open\nretry: R\ndata: {\"topics\":[\"a\"],\"position\":\"E-2\",\"keepAlive\":15000}\nid: E-2\n\ndata: 3\nid: E-3\n\n")
		w = open(t, s, "Last-Event-ID", "")
		w.want(t, "event: tidings.open\nretry: R\ndata: {\"topics\":[\"a\"],\"position\":\"E-0\",\"keepAlive\":15000}\nid: E-0\n\ndata: 1\nid: E-1\n\n")
	})
}

func TestServeEventsRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		for name, filters := range map[string][]topics.Filter{
			"an empty filter": {{}},
			"no filter":       nil,
		} {
			sub := hub.Subscription{Filters: filters}
			res := request(t, serveHub(t, h, sub), "GET", "Accept", "text/event-stream")
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "The filter") {
				t.Errorf("%s: %s %q", name, res.Status, body)
			}
			// EventsHandler leaves the answer to its caller.
			handler, err := h.EventsHandler(httptest.NewRequest("GET", "/", nil), sub)
			if invalid, ok := errors.AsType[*hub.InvalidError](err); handler != nil || !ok || invalid.Field != "filter" {
				t.Errorf("%s: Events returns %v, %v", name, handler, err)
			}
		}
	})
}

// The handler that EventsHandler returns serves the stream.
func TestEventsHandler(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, &hub.Options{MaxSubscribers: 1})
		publish(t, h, "a:1")
		ctx, cancel := context.WithCancel(t.Context())
		r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
		sub := hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromStart()}
		handler, err := h.EventsHandler(r, sub)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.EventsHandler(r, sub); !errors.Is(err, hub.ErrUnavailable) {
			t.Errorf("beyond the bound of subscribers: %v", err)
		}
		w := httptest.NewRecorder()
		time.AfterFunc(time.Second, cancel)
		handler.ServeHTTP(w, r)
		if !strings.Contains(w.Body.String(), "data: 1\n") {
			t.Errorf("it serves %q", w.Body)
		}
		if _, seats := h.Streams(); seats != 0 {
			t.Errorf("%d seats are taken", seats)
		}
	})
}

// A handler of EventsHandler that is never called gives back what it has when the request
// ends, and one that is called again does nothing.
func TestEventsHandlerThatIsNotCalledOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		sub := hub.Subscription{Filters: topics.MustFilters("a")}
		for name, calls := range map[string]int{"never": 0, "twice": 2} {
			ctx, cancel := context.WithCancel(t.Context())
			r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
			handler, err := h.EventsHandler(r, sub)
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Second, cancel)
			time.Sleep(time.Second / 2)
			for i := range calls {
				w := httptest.NewRecorder()
				if handler.ServeHTTP(w, r); i > 0 && w.Body.Len() > 0 {
					t.Errorf("%s: the second call serves %q", name, w.Body)
				}
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if open, seats := h.Streams(); open != 0 || seats != 0 {
				t.Errorf("%s: %d streams and %d seats are left", name, open, seats)
			}
		}
	})
}

// The log lines of a stream say the same as text and as JSON.
func TestStreamsInAJSONLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var logs lockedBuffer
		h := newHub(t, nil, &hub.Options{Logger: slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a.*", "b")})
		publish(t, h, "b:1")
		s.want(t, "b:1")
		s.stop()
		synctest.Wait()
		for _, want := range []string{`"path":"iterator","stream":"0.0"`, `"topics":["a.*","b"]`, `"reason":"client left"`} {
			if !strings.Contains(logs.String(), want) {
				t.Errorf("the log lacks %s:\n%s", want, logs.String())
			}
		}
	})
}

// Ready says why the hub cannot serve just now.
func TestReady(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFragileLog()
		h := newHub(t, log, nil)
		if err := h.Ready(t.Context()); err != nil {
			t.Errorf("at the start: %v", err)
		}
		log.failState(1)
		if err := h.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "not now") {
			t.Errorf("when the log has no state: %v", err)
		}
		// The log fails, and cannot be read anew for a while.
		synctest.Wait()
		log.failState(3)
		log.reopen(t, 0, newEpoch)
		synctest.Wait()
		log.failState(0)
		if err := h.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "follow the log") {
			t.Errorf("when the log cannot be followed: %v", err)
		}
		time.Sleep(time.Minute)
		if err := h.Ready(t.Context()); err != nil {
			t.Errorf("when the log is back: %v", err)
		}
		h.Drain()
		if err := h.Ready(t.Context()); !errors.Is(err, hub.ErrUnavailable) {
			t.Errorf("when it drains: %v", err)
		}
	})
}

// A HEAD request is answered, and leaves nothing behind.
func TestHead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		s := serveHub(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		res := request(t, s, "HEAD")
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("%s %s", res.Status, res.Header.Get("Content-Type"))
		}
		synctest.Wait()
		if running, places := h.Streams(); running != 0 || places != 0 {
			t.Errorf("%d run, %d have a place", running, places)
		}
	})
}

// A log that cannot be read breaks the stream, so that the client comes back.
func TestLogThatCannotBeRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &unreadableLog{Log: eventlog.NewMemory(nil)}
		h := newHub(t, log, &hub.Options{Window: 1})
		publish(t, h, "a:1", "a:2", "a:3")
		synctest.Wait()
		log.broken.Store(true)
		w := open(t, serveHub(t, h, hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromStart()}))
		w.want(t, "event: tidings.open\nretry: R\ndata: {\"topics\":[\"a\"],\"position\":\"E-0\",\"keepAlive\":15000}\nid: E-0\n\n")
		if rest, err := io.ReadAll(w.lines); len(rest) > 0 || err == nil {
			t.Errorf("then comes %q, and a clean end", rest)
		}
	})
}

type unreadableLog struct {
	eventlog.Log
	broken atomic.Bool
}

func (l *unreadableLog) Read(ctx context.Context, q eventlog.Query) (eventlog.Batch, error) {
	if l.broken.Load() {
		return eventlog.Batch{}, errors.New("out of order")
	}
	return l.Log.Read(ctx, q)
}
