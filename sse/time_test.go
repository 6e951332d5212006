package sse_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/memhttp"
	"example.com/tidings/sse"
)

// at yields each event at its time after the start. It must run in a bubble.
func at(ctx context.Context, events map[time.Duration]sse.Event) events {
	return func(yield func(sse.Event, error) bool) {
		for elapsed := time.Duration(0); ctx.Err() == nil; elapsed += time.Second {
			if ev, ok := events[elapsed]; ok && !yield(ev, nil) {
				return
			}
			time.Sleep(time.Second)
		}
	}
}

// timeline reads body and records when each part arrives.
func timeline(body io.Reader) string {
	var out strings.Builder
	start := time.Now()
	buf := make([]byte, 4096)
	for {
		n, err := body.Read(buf)
		if err != nil {
			return out.String()
		}
		out.WriteString(time.Since(start).String() + " " + strings.ReplaceAll(string(buf[:n]), "\n", "|") + "; ")
	}
}

func TestKeepAlive(t *testing.T) {
	schedule := map[time.Duration]sse.Event{0: {Data: "a"}, 20 * time.Second: {Data: "b"}, 34 * time.Second: {Data: "c"}}
	tests := []struct {
		name string
		opts *sse.ServeOptions
		want string
	}{
		{"the default is an empty comment after 15 s of silence, restarted by each event", nil,
			"0s data: a||; 15s :|; 20s data: b||; 34s data: c||; 49s :|; 1m4s :|; "},
		{"a text", &sse.ServeOptions{KeepAliveEvent: sse.Event{Comment: "keep-alive"}},
			"0s data: a||; 15s : keep-alive|; 20s data: b||; 34s data: c||; 49s : keep-alive|; 1m4s : keep-alive|; "},
		{"an event", &sse.ServeOptions{KeepAlive: 16 * time.Second, KeepAliveEvent: sse.Event{Type: "ping"}},
			"0s data: a||; 16s event: ping|data:||; 20s data: b||; 34s data: c||; 50s event: ping|data:||; 1m6s event: ping|data:||; "},
		{"off", &sse.ServeOptions{KeepAlive: -1}, "0s data: a||; 20s data: b||; 34s data: c||; "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, h2 bool) {
				h := serve(tt.opts, func(r *http.Request) events { return at(r.Context(), schedule) })
				srv := memhttp.New(t, h, nil)
				res := get(t, srv, h2)
				time.AfterFunc(70*time.Second, func() { res.Body.Close() })
				if got := timeline(res.Body); got != tt.want {
					t.Errorf("got  %s\nwant %s", got, tt.want)
				}
				<-h.result
			})
		})
	}
}

// A stream may last longer than the timeouts that http.Server sets for whole
// requests.
func TestServeOutlivesServerTimeouts(t *testing.T) {
	for name, opts := range map[string]*sse.ServeOptions{
		"with write timeouts": nil, "without": {WriteTimeout: -1},
	} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, h2 bool) {
				h := serve(opts, func(r *http.Request) events {
					return func(yield func(sse.Event, error) bool) {
						for range 3 {
							time.Sleep(20 * time.Second)
							if !yield(sse.Event{Data: "x"}, nil) {
								return
							}
						}
					}
				})
				srv := memhttp.New(t, h, func(s *http.Server) {
					s.WriteTimeout, s.ReadTimeout, s.ReadHeaderTimeout, s.IdleTimeout = 5*time.Second, 4*time.Second, 3*time.Second, 2*time.Second
				})
				body, err := io.ReadAll(get(t, srv, h2).Body)
				if err != nil || bytes.Count(body, []byte("data: x")) != 3 {
					t.Errorf("%q, %v", body, err)
				}
				if err := <-h.result; err != nil {
					t.Errorf("Serve = %v", err)
				}
			})
		})
	}
}

// After a stream, the connection serves further requests without a deadline.
func TestServeLeavesNoDeadlineBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := serve(nil, func(r *http.Request) events { return of(sse.Event{Data: "x"}) })
		srv := memhttp.New(t, h, nil)
		dials := 0
		client := srv.Client(t, false)
		dial := client.Transport.(*http.Transport).DialContext
		client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (c netConn, err error) {
			dials++
			return dial(ctx, network, addr)
		}
		for range 3 {
			res, err := client.Get(srv.URL())
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(res.Body); string(body) != "data: x\n\n" || err != nil {
				t.Errorf("%q, %v", body, err)
			}
			res.Body.Close()
			if err := <-h.result; err != nil {
				t.Errorf("Serve = %v", err)
			}
			time.Sleep(time.Minute)
		}
		if dials != 1 {
			t.Errorf("%d connections for 3 requests", dials)
		}
	})
}

// A client that reads nothing is detected after the write timeout, by an event
// or, on a silent stream, by the keep-alive. Its sequence then ends.
func TestServeStalledClient(t *testing.T) {
	tests := map[string]struct {
		events func(context.Context) events
		want   time.Duration
	}{
		"while events come": {func(ctx context.Context) events {
			return func(yield func(sse.Event, error) bool) {
				for yield(sse.Event{Data: strings.Repeat("x", 1<<16)}, nil) {
				}
			}
		}, 10 * time.Second},
		"while nothing comes": {func(ctx context.Context) events { return until(ctx) }, 25 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := serve(nil, func(r *http.Request) events { return tt.events(r.Context()) })
				srv := memhttp.New(t, h, nil)
				c, err := srv.Dial() // a pipe has no buffer: a write waits for the reader
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				readHead(t, c)
				start := time.Now()
				err = <-h.result
				if elapsed := time.Since(start); elapsed != tt.want {
					t.Errorf("noticed after %v, want %v", elapsed, tt.want)
				}
				if !errors.Is(err, context.Canceled) {
					t.Errorf("Serve = %v, want the request's cause in it", err)
				}
			})
		})
	}
}

// With many writes, each write has at least seven eighths of the write timeout.
func TestServeStalledClientAfterManyEvents(t *testing.T) {
	for taken := range 12 {
		synctest.Test(t, func(t *testing.T) {
			h := serve(&sse.ServeOptions{KeepAlive: -1}, func(*http.Request) events {
				return func(yield func(sse.Event, error) bool) {
					for yield(sse.Event{Data: "x"}, nil) {
						time.Sleep(time.Second)
					}
				}
			})
			srv := memhttp.New(t, h, nil)
			c, err := srv.Dial()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			readHead(t, c)
			io.ReadFull(c, make([]byte, (1+taken)*len("9\r\ndata: x\n\n\r\n")))
			start := time.Now() // the next write, one second from now, stalls
			<-h.result
			if waited := time.Since(start) - time.Second; waited > 10*time.Second || waited < 8750*time.Millisecond {
				t.Errorf("after %d events: noticed after %v", 1+taken, waited)
			}
		})
	}
}

// Over HTTP/2, a peer that reads nothing blocks the whole connection. A
// deadline of one stream only queues a reset behind the blocked writes. These
// settings of the server detect such a peer.
func TestServeStalledClientOverHTTP2(t *testing.T) {
	tests := map[string]http.HTTP2Config{
		"WriteByteTimeout": {WriteByteTimeout: 10 * time.Second},
		"pings":            {SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
	for name, config := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := serve(nil, func(r *http.Request) events { return until(r.Context()) })
				srv := memhttp.New(t, h, func(s *http.Server) { s.HTTP2 = &config })
				var conn *stallingConn
				client := srv.Client(t, true)
				client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (netConn, error) {
					c, err := srv.Dial()
					conn = &stallingConn{Conn: c, closed: make(chan struct{})}
					return conn, err
				}
				res, err := client.Get(srv.URL())
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				conn.stall()
				start := time.Now()
				if err := <-h.result; err == nil {
					t.Error("Serve = nil")
				}
				if elapsed := time.Since(start); elapsed > 25*time.Second {
					t.Errorf("noticed after %v", elapsed)
				}
			})
		})
	}
}

func TestServeEndsWhenTheClientLeaves(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		cleaned := make(chan time.Time, 1)
		h := serve(nil, func(r *http.Request) events {
			return func(yield func(sse.Event, error) bool) {
				defer func() { cleaned <- time.Now() }()
				until(r.Context(), sse.Event{Data: "x"})(yield)
			}
		})
		srv := memhttp.New(t, h, nil)
		client := srv.Client(t, h2)
		res, err := client.Get(srv.URL())
		if err != nil {
			t.Fatal(err)
		}
		io.ReadFull(res.Body, make([]byte, 5))
		left := time.Now()
		res.Body.Close()
		if elapsed := (<-cleaned).Sub(left); elapsed != 0 {
			t.Errorf("the sequence ended %v after its client left", elapsed)
		}
		if err := <-h.result; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve = %v, want context.Canceled", err)
		}
	})
}

// If the handler has not read the whole body, net/http does not notice that the
// client leaves. Sending the headers in Serve changes that.
func TestServeEndsWhenAPostingClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := serve(nil, func(r *http.Request) events {
			r.Body.Read(make([]byte, 2))
			return until(r.Context())
		})
		srv := memhttp.New(t, h, nil)
		res, err := srv.Client(t, false).Post(srv.URL(), "application/json", io.MultiReader(strings.NewReader("{}"), strings.NewReader("\n")))
		if err != nil {
			t.Fatal(err)
		}
		left := time.Now()
		res.Body.Close()
		if err := <-h.result; !errors.Is(err, context.Canceled) || time.Since(left) != 0 {
			t.Errorf("Serve = %v after %v", err, time.Since(left))
		}
	})
}

// If the server ends the request's context, a sequence that returns ends its
// response cleanly, because a shutdown is not a failure.
func TestServeEndsCleanlyWhenTheServerEndsTheRequest(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		h := serve(nil, func(r *http.Request) events { return until(r.Context(), sse.Event{Data: "x"}) })
		ctx, shutdown := context.WithCancelCause(t.Context())
		srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r.WithContext(ctx))
		}), nil)
		res := get(t, srv, h2)
		if _, err := io.ReadFull(res.Body, make([]byte, len("data: x\n\n"))); err != nil {
			t.Fatal(err)
		}
		why := errors.New("shutdown")
		shutdown(why)
		if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
			t.Errorf("the end is %q, %v", rest, err)
		}
		if err := <-h.result; err != why {
			t.Errorf("Serve = %v, want the cause", err)
		}
	})
}

// A sequence that goes on after its request has ended is cut off. The response
// must then not look complete.
func TestServeCutsASequenceThatGoesOn(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		h := serve(nil, func(r *http.Request) events {
			return func(yield func(sse.Event, error) bool) {
				for yield(sse.Event{Data: "x"}, nil) {
					time.Sleep(time.Second)
				}
			}
		})
		srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), 1500*time.Millisecond)
			defer cancel()
			h.ServeHTTP(w, r.WithContext(ctx))
		}), nil)
		body, err := io.ReadAll(get(t, srv, h2).Body)
		if string(body) != "data: x\n\ndata: x\n\n" || err == nil {
			t.Errorf("%q, %v; want a broken response", body, err)
		}
		if err := <-h.result; err != context.DeadlineExceeded {
			t.Errorf("Serve = %v", err)
		}
	})
}

type logBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func deafSequence(d time.Duration) events {
	return func(func(sse.Event, error) bool) { time.Sleep(d) } // ignores the context
}

func TestServeWarnsOfASequenceThatDoesNotReturn(t *testing.T) {
	for name, tt := range map[string]struct {
		d    time.Duration
		want int
	}{"after 5 s": {6 * time.Second, 1}, "not before": {4 * time.Second, 0}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log logBuffer
				opts := &sse.ServeOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))}
				h := serve(opts, func(*http.Request) events { return deafSequence(tt.d) })
				srv := memhttp.New(t, h, nil)
				get(t, srv, false).Body.Close()
				<-h.result
				time.Sleep(time.Minute)
				got := log.String()
				if strings.Count(got, "level=WARN") != tt.want {
					t.Errorf("log: %s", got)
				}
				if tt.want > 0 && (!strings.Contains(got, "deafSequence") || !strings.Contains(got, "time_test.go:")) {
					t.Errorf("the warning names neither function nor line: %s", got)
				}
			})
		})
	}
}

// A slowRecorder is a recorder with a slow Write, which detects a second write
// at the same time.
type slowRecorder struct {
	*httptest.ResponseRecorder
	t      *testing.T
	inside bool
	ended  bool
}

func (w *slowRecorder) Write(p []byte) (int, error) {
	if w.inside || w.ended {
		w.t.Errorf("a write of %q while another goes on, or after the end", p)
	}
	w.inside = true
	time.Sleep(40 * time.Millisecond)
	w.inside = false
	return w.ResponseRecorder.Write(p)
}

// Keep-alives are due at the same moments as events, and writes are slow.
// Still, no two writes overlap, no keep-alive is inside an event, and none is
// written after Serve has returned.
func TestServeWritesNeverMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slowRecorder{ResponseRecorder: httptest.NewRecorder(), t: t}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err := sse.Serve(w, httptest.NewRequest("GET", "/", nil).WithContext(ctx), func(yield func(sse.Event, error) bool) {
			for range 100 {
				time.Sleep(100 * time.Millisecond)
				if !yield(sse.Event{Data: "a\nb\nc"}, nil) {
					return
				}
			}
			time.Sleep(100 * time.Millisecond) // the next keep-alive is due just now
		}, &sse.ServeOptions{KeepAlive: 100 * time.Millisecond})
		w.ended = true
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		got := w.Body.String()
		if n := strings.Count(got, "data: a\ndata: b\ndata: c\n\n"); n != 100 {
			t.Errorf("%d whole events", n)
		}
		if !strings.Contains(got, "\n:\n") {
			t.Error("no keep-alive: this test shows nothing")
		}
	})
}
