package e2e_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/sse"
)

// A switching is a server whose /events a test replaces.
type switching struct {
	mux    *http.ServeMux
	url    string
	events atomic.Pointer[http.HandlerFunc]

	mu   sync.Mutex
	asks []*url.URL // of the requests for a stream
}

func newSwitching(t *testing.T, events http.HandlerFunc) *switching {
	t.Helper()
	s := &switching{mux: http.NewServeMux()}
	s.events.Store(&events)
	s.mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asks = append(s.asks, r.URL)
		s.mu.Unlock()
		(*s.events.Load())(w, r)
	})
	srv := httptest.NewUnstartedServer(s.mux)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	srv.Start()
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	s.url = srv.URL
	return s
}

func (s *switching) asked() []*url.URL {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asks)
}

// untilAsked waits until a client has asked for the stream n times.
func (s *switching) untilAsked(t *testing.T, n int) {
	t.Helper()
	eventually(t, "the client asks for the stream again", func() bool { return len(s.asked()) >= n })
}

// A foreign is a client that others wrote.
type foreign struct {
	name string
	rule string // how it differs from the standard

	run func(t *testing.T, s *switching, query string) reader

	// message returns what is published so that the client shows a text.
	message func(text string) hub.Message

	// lastWord says that the client takes a response that is complete for the last word.
	lastWord bool

	// inURL says that the client puts its last id into the URL, and not into the header.
	inURL bool
}

// inNode returns a function that runs a client of clients.mjs.
func inNode(client string) func(t *testing.T, s *switching, query string) reader {
	return func(t *testing.T, s *switching, query string) reader {
		return runNode(t, client, s.url+"/events?"+query)
	}
}

func plainMessage(text string) hub.Message { return hub.Message{Topic: "a", Data: text} }
func htmlMessage(text string) hub.Message {
	return hub.Message{Topic: "a", Data: "<li>" + text + "</li>"}
}

var foreigners = []foreign{
	{name: "undici", rule: "the standard", run: inNode("undici"), message: plainMessage},
	{name: "eventsource", rule: "the standard", run: inNode("eventsource"), message: plainMessage},
	{name: "launchdarkly-eventsource", rule: "waits longer from time to time", run: inNode("launchdarkly-eventsource"), message: plainMessage},
	{name: "eventsource-client", rule: "a reader on fetch that comes back after every end", run: inNode("eventsource-client"), message: plainMessage},
	{
		name: "event-source-polyfill", rule: "appends lastEventId to its URL, whatever that has",
		run: inNode("event-source-polyfill"), message: plainMessage, inURL: true,
	},
	{
		name: "fetch-event-source", rule: "a reader on fetch that resolves on a complete response comes back after a broken one",
		run: inNode("fetch-event-source"), message: plainMessage, lastWord: true,
	},
	{name: "PHP", rule: "fopen, over HTTP/1.0", run: runPHP, message: plainMessage},
	{
		name: "Chromium", rule: "the standard", message: plainMessage,
		run: runPage(`<script>new EventSource(%q).onmessage = (e) => {
			document.querySelector("#out").append(Object.assign(document.createElement("li"), {innerText: e.data}));
		};</script>`),
	},
	{
		name: "htmx 2 with htmx-ext-sse", rule: "opens a new EventSource, withCredentials", message: htmlMessage,
		run: runPage(`<script src="/modules/htmx.org/dist/htmx.js"></script><script src="/modules/htmx-ext-sse/dist/sse.js"></script>
			<div hx-ext="sse" sse-connect=%q><div sse-swap="message" hx-target="#out" hx-swap="beforeend"></div></div>`),
	},
	{
		name: "htmx 4", rule: "swaps only events without an event line", message: htmlMessage,
		run: runPage(`<script src="/modules/htmx4/dist/htmx.js"></script><script src="/modules/htmx4/dist/ext/hx-sse.js"></script>
			<div hx-sse:connect=%q hx-target="#out" hx-swap="beforeend"></div>`),
	},
	{
		name: "Datastar", rule: "a reader on fetch that resolves on a complete response comes back after a broken one", lastWord: true,
		message: func(text string) hub.Message {
			return hub.Message{Topic: "a", Type: "datastar-merge-fragments", Data: "selector #out\nmergeMode append\nfragments <li>" + text + "</li>"}
		},
		run: runPage(`<script>document.addEventListener("datastar-sse", (e) => {
				if (e.detail.type === "finished") window.final = "finished";
			});</script>
			<script type="module" src="/modules/@starfederation/datastar/dist/bundles/datastar.js"></script>
			<div data-on-load="@get('%s')"></div>`),
	},
}

// A log that several hubs use, one after the other.
type keptLog struct{ eventlog.Log }

func (keptLog) Close() error { return nil }

// Every client comes back, and misses nothing, after each way in which a hub ends a stream or
// takes none: it stops, it is away, it breaks a stream at the write deadline.
func TestForeignClientsReturn(t *testing.T) {
	t.Parallel()
	for _, f := range foreigners {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			t.Log("the rule: " + f.rule)
			log := keptLog{eventlog.NewMemory(nil)}
			start := func() (*hub.Hub, http.HandlerFunc) {
				h, err := hub.New(t.Context(), log, &hub.Options{Retry: 50 * time.Millisecond, TakeOver: true, Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { h.Close() })
				return h, httpapi.New(h, nil).ServeHTTP
			}
			publish := func(h *hub.Hub, text string) {
				t.Helper()
				if _, err := h.Publish(t.Context(), f.message(text)); err != nil {
					t.Fatal(err)
				}
			}
			first, events := start()
			s := newSwitching(t, events)
			r := f.run(t, s, "topic=a&from=start")
			until := func(want ...string) {
				t.Helper()
				eventually(t, "the client has "+strings.Join(want, " "), func() bool {
					got, final := r.got(t)
					if final != "" {
						t.Fatalf("after %q the client gives up: %s", got, final)
					}
					return slices.Equal(got, want)
				})
			}
			publish(first, "one")
			until("one")

			asked := len(s.asked())
			first.Drain()
			s.untilAsked(t, asked+2) // it is told twice that the hub is unavailable

			cut := http.HandlerFunc(reset)
			s.events.Store(&cut)
			s.untilAsked(t, len(s.asked())+1)

			second, events := start()
			publish(second, "two")
			s.events.Store(&events)
			until("one", "two")
			publish(second, "three")
			until("one", "two", "three")
			asks := s.asked()
			if q := asks[len(asks)-1].Query(); q.Has("lastEventId") != f.inURL {
				t.Errorf("the last request is %s", asks[len(asks)-1])
			}
		})
	}
}

// Some clients take a response that is complete for the last word. This is why a hub breaks its
// streams off.
func TestACompleteResponseIsTheLastWord(t *testing.T) {
	t.Parallel()
	for _, f := range foreigners {
		if !f.lastWord {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			s := newSwitching(t, func(w http.ResponseWriter, r *http.Request) {
				sse.Serve(w, r, func(yield func(sse.Event, error) bool) {
					yield(sse.Event{Type: hub.OpenEventType, Data: "{}", Retry: 50 * time.Millisecond, ID: "1"}, nil)
				}, nil)
			})
			r := f.run(t, s, "topic=a")
			eventually(t, "the client gives up", func() bool { _, final := r.got(t); return final != "" })
			if n := len(s.asked()); n != 1 {
				t.Errorf("it has asked %d times", n)
			}
		})
	}
}
