package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tidings/sse"

	"github.com/chromedp/chromedp"
)

// asHub returns a handler with streams at /events and a list of topics, as a hub has them.
func asHub(events http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/events", events)
	mux.HandleFunc("/topics", func(http.ResponseWriter, *http.Request) {})
	return mux
}

// Through each proxy with its recipe, and through an nginx that speaks HTTP/1.0 to the
// backend, every event arrives before the next one is sent. A clean end arrives as a
// clean end. When the client leaves, the iterator ends, at the latest with the
// keep-alives that follow.
func TestProxiesPassEventsAsTheyCome(t *testing.T) {
	t.Parallel()
	eachProxy(t, func(t *testing.T, p proxy) { testPassesEvents(t, p, "HTTP/1.1") })
	t.Run("nginx over HTTP 1.0", func(t *testing.T) {
		t.Parallel()
		testPassesEvents(t, nginx, "HTTP/1.0", http10)
	})
}

func testPassesEvents(t *testing.T, p proxy, proto string, changes ...change) {
	opts := &sse.ServeOptions{KeepAlive: -1}
	if !p.notices {
		opts.KeepAlive = 200 * time.Millisecond
	}
	src := newSource()
	url := startProxy(t, p, serve(t, asHub(src.handler(opts))).URL, changes...) + "/events"

	c := subscribe(t, url)
	st := src.next(t)
	if st.request.Proto != proto {
		t.Errorf("%s asks over %s, want %s", p.name, st.request.Proto, proto)
	}
	for i := range 20 {
		ev := sse.Event{ID: fmt.Sprint(i), Data: "small"}
		st.send(t, ev)
		c.want(t, ev)
	}
	st.end(t)
	if err := c.end(t); err != nil {
		t.Errorf("the stream ends with %v, want a clean end", err)
	}

	c = subscribe(t, url)
	st = src.next(t)
	st.send(t, sse.Event{Data: "hello"})
	c.want(t, sse.Event{Data: "hello"})
	c.leave()
	st.wait(t)
}

// A client behind a proxy sees an error in the sequence as a broken response.
func TestProxiesPassABreakOn(t *testing.T) {
	t.Parallel()
	eachProxy(t, func(t *testing.T, p proxy) {
		src := newSource()
		url := startProxy(t, p, serve(t, asHub(src.handler(nil))).URL)
		err := failThrough(t, src, url+"/events")
		if p.passesBreaks && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the stream ends with %v, want %v", err, io.ErrUnexpectedEOF)
		} else if !p.passesBreaks && err != nil {
			t.Errorf("the stream ends with %v; if %s can tell now, change its recipe and the guide", err, p.name)
		}
	})
}

// A client that reads nothing costs the proxy a bounded amount of memory: the proxy stops
// reading, and the server ends the stream at its write deadline.
func TestProxiesStopForAStalledClient(t *testing.T) {
	t.Parallel()
	const bound = 64 << 20 // far more than the sockets hold
	eachProxy(t, func(t *testing.T, p proxy) {
		src := newSource()
		url := startProxy(t, p, serve(t, asHub(src.handler(&sse.ServeOptions{WriteTimeout: 500 * time.Millisecond}))).URL)
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
		st := src.next(t)
		ev := sse.Event{Data: strings.Repeat("x", 64<<10)}
		for sent := 0; sent < bound; sent += len(ev.Data) {
			select {
			case st.items <- item{ev: ev}:
			case <-st.ended:
				return
			}
		}
		t.Errorf("%s takes %d bytes for a client that reads nothing", p.name, bound)
	})
}

// A proxy closes a stream that is silent for longer than its time-out, here one second. A
// shorter keep-alive prevents that.
func TestProxiesKeepIdleStreams(t *testing.T) {
	t.Parallel()
	eachProxy(t, func(t *testing.T, p proxy) {
		if p.impatient == nil && p.impatientArgs == nil {
			t.Skipf("%s has no time-out for a silent stream", p.name)
		}
		kept, silent := newSource(), newSource()
		keep := kept.handler(&sse.ServeOptions{KeepAlive: 250 * time.Millisecond})
		leave := silent.handler(&sse.ServeOptions{KeepAlive: -1})
		url := startProxy(t, p.hurried(), serve(t, asHub(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("silent") {
				leave.ServeHTTP(w, r)
			} else {
				keep.ServeHTTP(w, r)
			}
		}))).URL)

		dies := subscribe(t, url+"/events?silent")
		st := silent.next(t)
		st.send(t, sse.Event{Data: "hello"})
		dies.want(t, sse.Event{Data: "hello"})
		testIdle(t, kept, url+"/events")
		if err := dies.end(t); err == nil {
			t.Error("a stream without keep-alive ends cleanly, want it broken")
		}
		st.wait(t)
	})
}

// testIdle wants a stream to live through two and a half time-outs. A busy machine may
// stop for as long as a time-out, but hardly five times. A stream without keep-alive
// never survives.
func testIdle(t *testing.T, src *source, url string) {
	t.Helper()
	for range 5 {
		c := subscribe(t, url)
		st := src.next(t)
		select {
		case ev := <-c.events:
			t.Fatalf("received %+v, want silence", ev)
		case <-c.done:
		case <-time.After(2500 * time.Millisecond):
			st.send(t, sse.Event{Data: "still here"})
			if ev, ok := c.next(t); ok {
				if ev.Data != "still here" {
					t.Errorf("received %+v", ev)
				}
				return
			}
		}
		t.Logf("the stream has ended: %v", c.err)
	}
	t.Error("no idle stream survives")
}

// A hub behind a proxy is killed and starts again on its port. The browser's EventSource
// returns by itself and gets each message once, because meanwhile the proxy answers with
// a stream that asks it to come back. The page is from another origin, which the hub
// allows.
func TestEventSourceReturnsThroughProxies(t *testing.T) {
	t.Parallel()
	page := serve(t, withPage(http.NotFoundHandler()))
	eachProxy(t, func(t *testing.T, p proxy) {
		dir := t.TempDir()
		hub := startProcess(t, dir, "127.0.0.1:0", "--allow-origin", page.URL)
		url := startProxy(t, p, hub.URL)
		tb := newTab(t)
		tb.do(t, chromedp.Navigate(page.URL))
		tb.follow(t, "es", url+"/events?topic=news", "tidings.open", "tidings.gap", "tidings.unavailable")
		tb.until(t, `es.log.some(e => e.type === "tidings.open")`)
		want := []string{"one", "two", "three"}
		for _, data := range want {
			publishTo(t, url, "news", data)
		}
		tb.until(t, `es.log.at(-1).data === "three"`)
		last := eval[string](t, tb, `es.log.at(-1).id`)

		hub.end(os.Kill)
		tb.until(t, `es.log.some(e => e.type === "tidings.unavailable")`)
		if got := eval[string](t, tb, `es.log.find(e => e.type === "tidings.unavailable").id`); got != last {
			t.Errorf("the id of tidings.unavailable is %q, want the client's, %q", got, last)
		}

		startProcess(t, dir, hub.addr(), "--allow-origin", page.URL)
		// After an attempt has failed, Varnish makes the next one a quarter of a second later.
		eventually(t, "the proxy reaches the hub", func() bool {
			status, _, _ := request(t, http.MethodGet, url+"/topics", nil)
			return status == http.StatusOK
		})
		for _, data := range []string{"four", "five"} {
			want = append(want, data)
			publishTo(t, url, "news", data)
		}
		tb.until(t, `es.log.at(-1).data === "five"`)
		got := eval[[]string](t, tb, `es.log.filter(e => e.type === "message" || e.type === "tidings.gap").map(e => e.data)`)
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("the page has %q, want %q", got, want)
		}
		if got := eval[int](t, tb, "es.readyState"); got != stateOpen {
			t.Errorf("readyState is %d, want %d", got, stateOpen)
		}
	})
}

// While the hub is down, a request for a stream gets one that asks the client to come
// back after its own id. Every other request keeps the proxy's error, and so does every
// error of the hub itself.
func TestProxiesAnswerForAHubThatIsDown(t *testing.T) {
	t.Parallel()
	const origin = "https://example.org"
	const unavailable = "event: tidings.unavailable\nretry: 3000\ndata: {}\n"
	stream := http.Header{"Accept": {"text/event-stream"}, "Origin": {origin}}
	resume := func(id string) http.Header {
		h := stream.Clone()
		h.Set("Last-Event-ID", id)
		return h
	}
	eachProxy(t, func(t *testing.T, p proxy) {
		hub := serve(t, asHub(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "the hub's own words", http.StatusServiceUnavailable)
		})))
		url := startProxy(t, p, hub.URL)
		if status, body, _ := request(t, http.MethodGet, url+"/events", stream); status != http.StatusServiceUnavailable || body != "the hub's own words\n" {
			t.Errorf("a 503 of the hub arrives as %d %q", status, body)
		}
		hub.stop()
		if p.name == varnish.name { // takes a moment to find out
			eventually(t, "Varnish answers", func() bool {
				_, ok := subscribe(t, url+"/events").next(t)
				return ok
			})
		}
		var wg sync.WaitGroup
		defer wg.Wait()
		for _, tc := range []struct {
			name, method, path string
			header             http.Header
			want               string // of a stream
		}{
			{"a stream", http.MethodGet, "/events?topic=x", stream, unavailable + "\n"},
			{"one type of several", http.MethodGet, "/events", http.Header{"Accept": {"text/html, text/event-stream;q=0.9"}}, unavailable + "\n"},
			{"a stream that resumes", http.MethodGet, "/events", resume("0w3k7zq4m8tc-42"), unavailable + "id: 0w3k7zq4m8tc-42\n\n"},
			{"an id that is none", http.MethodGet, "/events", resume(`<b> "%[x]{y}$z`), unavailable + "\n"},
			{"no Accept", http.MethodGet, "/events", nil, ""},
			{"another path", http.MethodGet, "/topics", stream, ""},
			{"a longer path", http.MethodGet, "/events/x", stream, ""},
			{"a publish", http.MethodPost, "/topics/x", nil, ""},
			{"a publish with a key", http.MethodPost, "/topics/x", http.Header{"Idempotency-Key": {"1"}}, ""},
		} {
			wg.Go(func() { // HAProxy takes three seconds for some
				status, body, header := request(t, tc.method, url+tc.path, tc.header)
				body = strings.Replace(body, "\n:\n", "\n", 1) // HAProxy's comment
				if tc.want == "" {
					if status != http.StatusBadGateway && status != http.StatusServiceUnavailable {
						t.Errorf("%s: %d %q, want 502 or 503", tc.name, status, body)
					}
					return
				}
				if status != http.StatusOK || body != tc.want {
					t.Errorf("%s: %d %q, want 200 %q", tc.name, status, body, tc.want)
				}
				want := http.Header{"Content-Type": {"text/event-stream"}, "Cache-Control": {"no-store"}}
				if origin := tc.header["Origin"]; origin != nil {
					want["Access-Control-Allow-Origin"] = origin
					want["Access-Control-Allow-Credentials"] = []string{"true"}
				}
				for key := range want {
					if !slices.Equal(header[key], want[key]) {
						t.Errorf("%s: %s: %q, want %q", tc.name, key, header[key], want[key])
					}
				}
			})
		}
	})
}

// request sends a request on a connection of its own. A POST has a body. The status is 0 if
// no answer comes. It may be called from any goroutine.
func request(t *testing.T, method, url string, header http.Header) (status int, body string, got http.Header) {
	t.Helper()
	var content io.Reader
	if method == http.MethodPost {
		content = strings.NewReader("hello")
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, content)
	if err != nil {
		t.Error(err)
		return 0, "", nil
	}
	for key, values := range header {
		req.Header[key] = values
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0, "", nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, string(b), resp.Header
}
