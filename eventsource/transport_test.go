package eventsource_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventsource"
	"example.com/tidings/internal/memhttp"
)

// protocols runs a test in a bubble over HTTP/1.1 and HTTP/2.
func protocols(t *testing.T, f func(t *testing.T, h2 bool)) {
	for _, h2 := range []bool{false, true} {
		t.Run(map[bool]string{false: "HTTP/1.1", true: "h2c"}[h2], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, h2) })
		})
	}
}

// inMemory returns the client's own transport with connections in memory.
func inMemory(srv *memhttp.Server, h2 bool, wrap func(net.Conn) net.Conn) *http.Client {
	tr := eventsource.NewTransport()
	tr.DialContext = func(context.Context, string, string) (net.Conn, error) {
		conn, err := srv.Dial()
		if err == nil && wrap != nil {
			conn = wrap(conn)
		}
		return conn, err
	}
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetHTTP1(!h2)
	tr.Protocols.SetUnencryptedHTTP2(h2)
	return &http.Client{Transport: tr}
}

// A muteConn loses everything from some moment on, as a cable does that was cut.
type muteConn struct {
	net.Conn
	muted  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (c *muteConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	select {
	case <-c.muted:
		<-c.closed
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

func (c *muteConn) Write(p []byte) (int, error) {
	select {
	case <-c.muted:
		return len(p), nil
	default:
		return c.Conn.Write(p)
	}
}

func (c *muteConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// hubLike keeps a stream alive as the hub does, and says each second what time it is.
func hubLike(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	io.WriteString(w, opening(15*s))
	for {
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-time.After(15 * s):
		}
		if _, err := io.WriteString(w, ": keep-alive\n"); err != nil {
			return
		}
	}
}

func TestADeadConnectionCostsAtMost45Seconds(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		srv := memhttp.New(t, http.HandlerFunc(hubLike), nil)
		muted := make(chan struct{})
		client := inMemory(srv, h2, func(conn net.Conn) net.Conn {
			c := &muteConn{Conn: conn, muted: muted, closed: make(chan struct{})}
			muted = make(chan struct{}) // the next connection lives
			return c
		})
		first := muted
		ctx, cancel := context.WithCancel(t.Context())
		var cut time.Time
		opened := 0
		c := eventsource.New(srv.URL(), &eventsource.Options{HTTPClient: client, OnState: func(st eventsource.State) {
			if st.Phase != eventsource.Open {
				return
			}
			if opened++; opened == 2 {
				if d := time.Since(cut); d > 45*s {
					t.Errorf("open again %v after the cable was cut", d)
				}
				cancel()
			}
		}})
		time.AfterFunc(100*s, func() { cut = time.Now(); close(first) })
		collect(ctx, c, nil)
		if opened != 2 {
			t.Errorf("opened %d times", opened)
		}
		client.CloseIdleConnections()
	})
}

// A server that sends without an end to a consumer that does not read.
func TestAStalledHTTP2StreamHolds256KiB(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int64
		srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			event := "data: " + strings.Repeat("x", 1000) + "\n\n"
			for {
				n, err := io.WriteString(w, event)
				sent.Add(int64(n))
				if err != nil {
					return
				}
			}
		}), nil)
		client := inMemory(srv, true, nil)
		c := eventsource.New(srv.URL(), &eventsource.Options{HTTPClient: client})
		for _, err := range c.Events(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			break
		}
		if n := sent.Load(); n < 200<<10 || n > 350<<10 {
			t.Errorf("the server has sent %d bytes, want some 256 KiB", n)
		}
		client.CloseIdleConnections()
	})
}

// A hundred streams whose consumers do not read hold less than 50 MiB.
func TestStalledStreamsHoldLittle(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		const streams = 100
		event := []byte("data: " + strings.Repeat("x", 32<<10) + "\n\n")
		srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for {
				if _, err := w.Write(event); err != nil {
					return
				}
			}
		}), nil)
		client := inMemory(srv, h2, nil)
		before := heap()
		ctx, cancel := context.WithCancel(t.Context())
		stalled := make(chan struct{})
		var all sync.WaitGroup
		for range streams {
			all.Go(func() {
				for range eventsource.New(srv.URL(), &eventsource.Options{HTTPClient: client}).Events(ctx) {
					<-stalled
					break
				}
			})
		}
		synctest.Wait()
		if got := heap() - before; got > 50<<20 {
			t.Errorf("%d streams hold %d MiB", streams, got>>20)
		} else {
			t.Logf("%d streams hold %d kB each, with what the server needs", streams, got/streams/1000)
		}
		close(stalled)
		all.Wait()
		cancel()
		client.CloseIdleConnections()
	})
}

// heap returns how many bytes of memory are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// After a redirect to another origin, none of the caller's headers is sent.
func TestSecretsStayWithTheirOrigin(t *testing.T) {
	for _, tt := range []struct {
		name  string
		from  string
		hops  []string
		stays bool
	}{
		{"no redirect", "http://hub.test/a?x", nil, true},
		{"the same host", "http://hub.test/a?x", []string{"/b"}, true},
		{"the same host with its port", "http://hub.test/a?x", []string{"http://hub.test:80/b"}, true},
		{"HTTPS on the same host", "http://hub.test/a?x", []string{"https://hub.test/b"}, true},
		{"HTTPS on another port", "http://hub.test/a?x", []string{"https://hub.test:8443/b"}, false},
		{"away from HTTPS", "https://hub.test/a?x", []string{"http://hub.test/b"}, false},
		{"another host", "http://hub.test/a?x", []string{"http://other.test/b"}, false},
		{"a host below", "http://hub.test/a?x", []string{"http://sub.hub.test/b"}, false},
		{"another port", "http://hub.test/a?x", []string{"http://hub.test:81/b"}, false},
		{"there and back", "http://hub.test/a?x", []string{"http://other.test/b", "http://hub.test/c"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &server{}
				srv.reply = func(n int, _ *http.Request) reply {
					if n < len(tt.hops) {
						return reply{status: 302, header: http.Header{"Location": {tt.hops[n]}}, end: io.EOF}
					}
					return stream("data: a\n\n", nil)
				}
				c := eventsource.New(tt.from, &eventsource.Options{
					HTTPClient:  &http.Client{Transport: srv},
					Header:      http.Header{"Authorization": {"Bearer 1"}, "X-Key": {"1"}, "Cookie": {"a=1"}},
					LastEventID: "7",
				})
				collect(t.Context(), c, func(*outcome) bool { return true })
				last := srv.requests[len(tt.hops)].Header
				for _, name := range []string{"Authorization", "X-Key", "Cookie"} {
					if got := last.Get(name) != ""; got != tt.stays {
						t.Errorf("%s arrives: %v", name, got)
					}
				}
				if !tt.stays && last.Get("Referer") != "" {
					t.Errorf("Referer is %q", last.Get("Referer"))
				}
				if last.Get("Accept") != "text/event-stream" || last.Get("Last-Event-ID") != "7" || last.Get("Cache-Control") != "no-cache" {
					t.Errorf("headers %v", last)
				}
				if got := srv.requests[0].URL.String(); got != tt.from {
					t.Errorf("began at %s", got)
				}
			})
		})
	}
}

// Each attempt begins at the original URL, and the caller's rule for redirects holds.
func TestRedirects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := inOrder(reply{status: 301, header: http.Header{"Location": {"/b"}}, end: io.EOF}, stream("data: a\n\n", errCut), noContent)
		collect(t.Context(), srv.client(nil), nil)
		if got := srv.requests[2].URL.String(); got != streamURL {
			t.Errorf("the second attempt begins at %s", got)
		}
		srv = inOrder(reply{status: 301, header: http.Header{"Location": {"/b"}}, end: io.EOF})
		refused := errors.New("no redirects")
		c := eventsource.New(streamURL, &eventsource.Options{FailFast: true, HTTPClient: &http.Client{Transport: srv, CheckRedirect: func(*http.Request, []*http.Request) error { return refused }}})
		if o := collect(t.Context(), c, nil); !errors.Is(o.last, refused) || strings.Contains(o.last.Error(), "secret") {
			t.Errorf("ended with %v", o.last)
		}
		srv = inOrder(reply{status: 301, header: http.Header{"Location": {"/b"}}, end: io.EOF})
		if o := collect(t.Context(), srv.client(&eventsource.Options{FailFast: true}), nil); o.last == nil || srv.count() != 10 {
			t.Errorf("%d requests, ended with %v", srv.count(), o.last)
		}
	})
}

// No error, log line or state has the query of the URL.
func TestTheQueryIsInNoText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, r := range []reply{{refuse: errCut}, {status: 503, end: io.EOF}, {status: 404, end: io.EOF}, stream("data: a\n\n", errCut), stream("", io.EOF), {header: http.Header{"Content-Type": {"text/html"}}, end: io.EOF}} {
			log := new(strings.Builder)
			var texts []string
			c := inOrder(r).client(&eventsource.Options{Logger: logTo(log), OnState: func(s eventsource.State) {
				if s.Err != nil {
					texts = append(texts, s.Err.Error())
				}
			}})
			o := runFor(t, c, time.Minute)
			for _, err := range o.errs {
				texts = append(texts, err.Error())
			}
			if all := strings.Join(texts, "\n") + log.String(); len(texts) == 0 || strings.Contains(all, "secret") {
				t.Errorf("texts %q", all)
			}
		}
	})
}

// However a loop ends, nothing is left of it.
func TestNoGoroutineIsLeft(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/none" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "id: %d\ndata: a\n\n", i)
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer srv.Close()
	http.DefaultClient.CloseIdleConnections()
	before := runtime.NumGoroutine()
	for range eventsource.New(srv.URL+"/none", nil).Events(t.Context()) {
	}
	wantGoroutines(t, "204", before)
	for n := 1; n <= 3; n++ {
		for name, end := range map[string]func(cancel func()) bool{
			"break":  func(func()) bool { return true },
			"panic":  func(func()) bool { panic("the consumer") },
			"cancel": func(cancel func()) bool { cancel(); return false },
		} {
			ctx, cancel := context.WithCancel(t.Context())
			func() {
				defer func() { recover() }()
				events := 0
				for range eventsource.New(srv.URL, &eventsource.Options{MaxSilence: time.Minute}).Events(ctx) {
					if events++; events == n && end(cancel) {
						break
					}
				}
			}()
			cancel()
			wantGoroutines(t, fmt.Sprintf("%s at event %d", name, n), before)
		}
	}
}

// wantGoroutines waits until no more goroutines than these are left.
func wantGoroutines(t *testing.T, after string, want int) {
	t.Helper()
	for deadline := time.Now().Add(30 * s); runtime.NumGoroutine() > want; time.Sleep(ms) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("after %s: %d goroutines, %d before\n%s", after, runtime.NumGoroutine(), want, stacks[:runtime.Stack(stacks, true)])
		}
	}
}
