package sse_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/memhttp"
	"example.com/tidings/sse"
)

type netConn = net.Conn

// readHead reads the head of a response byte by byte, so that it reads nothing
// after the head.
func readHead(t *testing.T, c io.Reader) {
	t.Helper()
	head, b := "", make([]byte, 1)
	for !strings.HasSuffix(head, "\r\n\r\n") {
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
		head += string(b)
	}
}

// A stallingConn reads nothing more after stall is called.
type stallingConn struct {
	net.Conn
	stalled atomic.Bool
	closed  chan struct{}
	once    sync.Once
}

func (c *stallingConn) stall() {
	c.stalled.Store(true)
	c.Conn.SetReadDeadline(time.Unix(1, 0))
}

func (c *stallingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n == 0 && c.stalled.Load() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *stallingConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// Kinds of writers that middlewares put around each other.
type (
	unwrapping struct{ http.ResponseWriter } // like most modern wrappers
	opaque     struct{ http.ResponseWriter } // hides all methods except the three of ResponseWriter
	flushing   struct {                      // has Flush, and hides all other methods
		http.ResponseWriter
		flushed int
	}
	careless struct { // always has Flush, like the writers of some frameworks
		http.ResponseWriter
		flushed *bool
	}
	late struct { // its FlushError returns http.ErrNotSupported
		http.ResponseWriter
	}
)

func (w unwrapping) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *flushing) Flush() {
	w.flushed++
	http.NewResponseController(w.ResponseWriter).Flush()
}

func (w careless) Unwrap() http.ResponseWriter { return w.ResponseWriter }
func (w careless) Flush() {
	*w.flushed = true
	w.ResponseWriter.(http.Flusher).Flush()
}

func (late) FlushError() error { return http.ErrNotSupported }

func TestServeRefusesAWriterThatCannotFlush(t *testing.T) {
	flushed := false
	wraps := map[string]func(http.ResponseWriter) http.ResponseWriter{
		"opaque":                   func(w http.ResponseWriter) http.ResponseWriter { return opaque{w} },
		"opaque inside unwrapping": func(w http.ResponseWriter) http.ResponseWriter { return unwrapping{opaque{w}} },
		"opaque inside one that offers Flush all the same": func(w http.ResponseWriter) http.ResponseWriter {
			return unwrapping{careless{opaque{w}, &flushed}}
		},
		"one that finds out late": func(w http.ResponseWriter) http.ResponseWriter { return late{w} },
	}
	for name, wrap := range wraps {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, h2 bool) {
				h := serve(nil, func(*http.Request) events {
					return func(func(sse.Event, error) bool) { t.Error("the sequence was ranged") }
				})
				srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(wrap(w), r) }), nil)
				res := get(t, srv, h2)
				body, err := io.ReadAll(res.Body)
				if res.StatusCode != 500 || err != nil || !strings.Contains(string(body), "flush") ||
					!strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") {
					t.Errorf("%d %v %q %v", res.StatusCode, res.Header, body, err)
				}
				if err := <-h.result; !errors.Is(err, http.ErrNotSupported) {
					t.Errorf("Serve = %v", err)
				}
				if flushed {
					t.Error("Flush was called on a wrapper")
				}
			})
		})
	}
}

func TestServeThroughTimeoutHandlerIsARefusal(t *testing.T) {
	h := serve(nil, func(*http.Request) events { return of(sse.Event{Data: "x"}) })
	rec := httptest.NewRecorder()
	http.TimeoutHandler(h, time.Minute, "").ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if rec.Code != 500 {
		t.Errorf("status %d", rec.Code)
	}
}

func TestServeLooksThroughUnwrap(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		h := serve(&sse.ServeOptions{KeepAlive: -1}, func(r *http.Request) events {
			return func(yield func(sse.Event, error) bool) {
				yield(sse.Event{Data: "1"}, nil)
				time.Sleep(time.Minute) // past the server's write timeout
				yield(sse.Event{Data: "2"}, nil)
			}
		})
		srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(unwrapping{unwrapping{w}}, r)
		}), func(s *http.Server) { s.WriteTimeout = time.Second })
		body, err := io.ReadAll(get(t, srv, h2).Body)
		if string(body) != "data: 1\n\ndata: 2\n\n" || err != nil {
			t.Errorf("%q, %v", body, err)
		}
	})
}

// A wrapper may hide the deadlines. An error still breaks the response, by
// closing a hijacked connection or by ending the goroutine.
func TestServeBreaksTheResponseWithoutDeadlines(t *testing.T) {
	type hijacking struct {
		*flushing
		http.Hijacker
	}
	wraps := map[string]func(http.ResponseWriter) http.ResponseWriter{
		"with Hijack": func(w http.ResponseWriter) http.ResponseWriter {
			h, _ := w.(http.Hijacker) // nil over HTTP/2
			return hijacking{&flushing{ResponseWriter: w}, h}
		},
		"with nothing": func(w http.ResponseWriter) http.ResponseWriter { return &flushing{ResponseWriter: w} },
	}
	for name, wrap := range wraps {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, h2 bool) {
				srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					sse.Serve(wrap(w), r, func(yield func(sse.Event, error) bool) {
						_ = yield(sse.Event{Data: "x"}, nil) && yield(sse.Event{}, errors.New("secret"))
					}, nil)
				}), nil)
				body, err := io.ReadAll(get(t, srv, h2).Body)
				if string(body) != "data: x\n\n" || err == nil {
					t.Errorf("%q, %v; want a broken response", body, err)
				}
			})
		})
	}
}

// failing is a writer whose writes fail from the second one on.
type failing struct {
	*httptest.ResponseRecorder
	err error
}

func (w *failing) Write(p []byte) (int, error) {
	if w.Body.Len() > 0 {
		return 0, w.err
	}
	return w.ResponseRecorder.Write(p)
}

func TestServeStopsAtAWriteThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &failing{httptest.NewRecorder(), errors.New("broken pipe")}
		yields, cleaned := 0, false
		err := sse.Serve(w, httptest.NewRequest("GET", "/", nil), func(yield func(sse.Event, error) bool) {
			defer func() { cleaned = true }()
			for yield(sse.Event{Data: "x"}, nil) {
				yields++
			}
		}, nil)
		if _, ok := errors.AsType[*sse.WriteError](err); !ok || !errors.Is(err, w.err) || yields != 1 || !cleaned {
			t.Errorf("Serve = %v after %d events, cleaned up: %v", err, yields, cleaned)
		}
	})
}

// If a keep-alive fails, the stream fails too.
func TestServeReportsAKeepAliveThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &failing{httptest.NewRecorder(), errors.New("broken pipe")}
		err := sse.Serve(w, httptest.NewRequest("GET", "/", nil), func(yield func(sse.Event, error) bool) {
			yield(sse.Event{Data: "x"}, nil)
			time.Sleep(time.Minute)
		}, nil)
		if !errors.Is(err, w.err) {
			t.Errorf("Serve = %v", err)
		}
	})
}

func TestServeAllocatesNothingPerEvent(t *testing.T) {
	w := &discard{header: http.Header{}}
	ev := sse.Event{ID: "1", Type: "tick", Data: "a\nb"}
	var perEvent float64
	err := sse.Serve(w, httptest.NewRequest("GET", "/", nil), func(yield func(sse.Event, error) bool) {
		perEvent = testing.AllocsPerRun(1000, func() { yield(ev, nil) })
	}, nil)
	if err != nil || perEvent != 0 {
		t.Errorf("%v allocations per event, %v", perEvent, err)
	}
}

type discard struct{ header http.Header }

func (w *discard) Header() http.Header              { return w.header }
func (w *discard) Write(p []byte) (int, error)      { return len(p), nil }
func (w *discard) WriteHeader(int)                  {}
func (w *discard) Flush()                           {}
func (w *discard) SetWriteDeadline(time.Time) error { return nil }
