package e2e_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tidings/sse"
)

// http10 makes nginx speak HTTP/1.0 to its backend, its default before nginx 1.29.7.
var http10 = change{"proxy_http_version 1.1;", "proxy_http_version 1.0;"}

// Without X-Accel-Buffering, an nginx that speaks HTTP/1.0 to the backend holds the
// stream back until it ends. That is the purpose of the header, and it shows that the
// test above can fail. Over HTTP/1.1 nginx passes on each chunk even while it buffers.
// There the header stops nginx from storing unread data of a slow client in memory and
// files.
func TestNginxWithoutTheHeader(t *testing.T) {
	t.Parallel()
	events := []sse.Event{{Data: "one"}, {Data: "two"}, {Data: "three"}, {Data: "four"}}
	without := func(t *testing.T, changes ...change) (*get, *stream) {
		src := newSource()
		backend := serve(t, withoutHeader(src.handler(nil), "X-Accel-Buffering"))
		c := subscribe(t, startProxy(t, nginx, backend.URL, changes...))
		return c, src.next(t)
	}

	t.Run("held back over HTTP 1.0", func(t *testing.T) {
		t.Parallel()
		c, st := without(t, http10)
		st.send(t, events...)
		select {
		case ev := <-c.events:
			t.Fatalf("%+v has arrived", ev)
		case <-time.After(silence):
		}
		st.end(t)
		for _, ev := range events {
			c.want(t, ev)
		}
		if err := c.end(t); err != nil {
			t.Error(err)
		}
	})

	t.Run("passed on over HTTP 1.1", func(t *testing.T) {
		t.Parallel()
		c, st := without(t)
		for _, ev := range events {
			st.send(t, ev)
			c.want(t, ev)
		}
	})
}

// withoutHeader removes a header from a handler's responses.
func withoutHeader(h http.Handler, key string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&headerRemover{w, key}, r)
	})
}

type headerRemover struct {
	http.ResponseWriter
	key string
}

func (w *headerRemover) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader is called before the first flush of a stream.
func (w *headerRemover) WriteHeader(status int) {
	w.Header().Del(w.key)
	w.ResponseWriter.WriteHeader(status)
}

// Over HTTP/1.0 a response ends when the connection closes. So nginx takes an error for
// the end, and sends its client a clean end. This is why docs/proxies/nginx.conf sets
// proxy_http_version.
func TestNginxOverHTTP10TakesABreakForTheEnd(t *testing.T) {
	t.Parallel()
	src := newSource()
	url := startProxy(t, nginx, serve(t, src.handler(nil)).URL, http10)
	if err := failThrough(t, src, url); err != nil {
		t.Errorf("the stream ends with %v; if nginx can tell now, change docs/proxies/nginx.conf and the guide", err)
	}
}

// failThrough gets a stream that fails after an event. It returns the error that the
// client sees.
func failThrough(t *testing.T, src *source, url string) error {
	t.Helper()
	c := subscribe(t, url)
	st := src.next(t)
	st.send(t, sse.Event{Data: "before"})
	c.want(t, sse.Event{Data: "before"})
	st.fail(t, errors.New("the secret reason"))
	return c.end(t)
}

// If nginx cannot connect to a node, it sends a publish to the next one. If a node has the
// publish and gives no answer, or answers 503, the publish may be stored: nginx sends it
// to the next node only if it has an Idempotency-Key.
func TestNginxRetriesAPublish(t *testing.T) {
	t.Parallel()
	hangUp := func(w http.ResponseWriter) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			conn.Close()
		}
	}
	refuse := func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }
	key := http.Header{"Idempotency-Key": {"1"}}
	for _, tc := range []struct {
		name   string
		header http.Header
		first  func(http.ResponseWriter) // the first answer, nil if one node is down
		status int
		sent   int32
	}{
		{"a node is down", nil, nil, http.StatusCreated, 1},
		{"no answer", nil, hangUp, http.StatusBadGateway, 1},
		{"no answer, with a key", key, hangUp, http.StatusCreated, 2},
		{"503", nil, refuse, http.StatusServiceUnavailable, 1},
		{"503, with a key", key, refuse, http.StatusCreated, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var sent atomic.Int32
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if body, err := io.ReadAll(r.Body); string(body) != "hello" || err != nil {
					t.Errorf("a node gets %q (%v)", body, err)
				}
				if sent.Add(1) == 1 && tc.first != nil {
					tc.first(w)
					return
				}
				w.WriteHeader(http.StatusCreated)
			})
			a, b := serve(t, h), serve(t, h)
			url := startProxy(t, nginx, a.URL, andNode(b.URL))
			times := 1
			if tc.first == nil {
				a.stop()
				times = 2 // nginx asks the nodes in turn
			}
			for range times {
				sent.Store(0)
				status, _, _ := request(t, http.MethodPost, url+"/topics/x", tc.header)
				if got := sent.Load(); status != tc.status || got != tc.sent {
					t.Errorf("got %d after %d requests to the nodes, want %d after %d", status, got, tc.status, tc.sent)
				}
			}
		})
	}
}

// andNode adds a node to the recipe of nginx.
func andNode(url string) change {
	const end = " max_fails=0;"
	return change{end, end + " server " + strings.TrimPrefix(url, "http://") + end}
}

// The largest batch passes nginx, whose own default is 1 MiB.
func TestNginxPassesLargeBodies(t *testing.T) {
	t.Parallel()
	got := make(chan int64, 1)
	s := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		got <- n
	}))
	resp, err := http.Post(startProxy(t, nginx, s.URL)+"/batch", "application/x-ndjson", strings.NewReader(strings.Repeat(" ", 16<<20)))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("16 MiB: %s", resp.Status)
	}
	if n := <-got; n != 16<<20 {
		t.Errorf("%d bytes arrive", n)
	}
}
