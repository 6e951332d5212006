package sse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/memhttp"
	"example.com/tidings/sse"
)

// A client announces a body and does not send it. It holds neither the
// connection nor the handler longer than the read timeout of the server.
func TestServeLeavesTheReadTimeoutToAnUnsentBody(t *testing.T) {
	for name, header := range map[string]string{"plain": "", "expected": "Expect: 100-continue\r\n"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				closed := make(chan time.Time, 1)
				h := serve(nil, func(*http.Request) events { return of(sse.Event{Data: "x"}) })
				srv := memhttp.New(t, h, func(s *http.Server) {
					s.ReadTimeout = 5 * time.Second
					s.ConnState = func(_ net.Conn, state http.ConnState) {
						if state == http.StateClosed {
							closed <- time.Now()
						}
					}
				})
				c, err := srv.Dial()
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				start := time.Now()
				go io.Copy(io.Discard, c)
				io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"+header+"\r\n")
				if elapsed := (<-closed).Sub(start); elapsed > 10*time.Second {
					t.Errorf("held for %v", elapsed)
				}
			})
		})
	}
}

// If a wrapper panics in Write or Flush, the panic reaches the handler's
// goroutine, even if a keep-alive was being written.
func TestServeKeepAlivePanicReachesNetHTTP(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		var recovered any
		ended := make(chan struct{})
		srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			defer func() { recovered = recover() }()
			sse.Serve(panicking{w}, r, until(r.Context()), nil)
		}), nil)
		start := time.Now()
		_, err := io.ReadAll(get(t, srv, h2).Body)
		<-ended
		if recovered != "wrapper" || err == nil || time.Since(start) != 15*time.Second {
			t.Errorf("recovered %v after %v; the client sees %v", recovered, time.Since(start), err)
		}
	})
}

type panicking struct{ http.ResponseWriter }

func (panicking) Write([]byte) (int, error)     { panic("wrapper") }
func (w panicking) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// flushFails is a wrapper whose own buffer cannot be flushed.
type flushFails struct {
	http.ResponseWriter
	err error
}

func (w flushFails) FlushError() error           { return w.err }
func (w flushFails) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestServeBreaksOffWhenTheHeadersCannotBeFlushed(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		h := serve(nil, func(*http.Request) events {
			return func(func(sse.Event, error) bool) { t.Error("the sequence was ranged") }
		})
		srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(flushFails{w, errors.New("compressor: closed")}, r)
		}), nil)
		res, err := srv.Client(t, h2).Get(srv.URL())
		if err == nil {
			_, err = io.ReadAll(res.Body)
			res.Body.Close()
		}
		if err == nil {
			t.Error("the client takes it for an empty stream")
		}
		if _, ok := errors.AsType[*sse.WriteError](<-h.result); !ok {
			t.Error("the result is not a WriteError")
		}
	})
}

// A client that reads a large event slowly still gets all of it.
func TestServeLargeEventToASlowClient(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		large := sse.Event{Data: strings.Repeat("x", 4<<20)}
		h := serve(nil, func(*http.Request) events { return of(large) })
		srv := memhttp.New(t, h, nil)
		slow := slowReader{get(t, srv, h2).Body}
		for ev, err := range sse.Decode(slow, nil) {
			if ev != large || err != nil {
				t.Errorf("%d bytes of data, %v", len(ev.Data), err)
			}
		}
		if err := <-h.result; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

// A slowReader reads 64 KiB/s.
type slowReader struct{ r io.Reader }

func (s slowReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	time.Sleep(time.Duration(n) * time.Second / (64 << 10))
	return n, err
}

// With "identity", HTTP/1.1 would have no framing, and a client could not
// detect a broken response.
func TestServeDropsTransferEncoding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Transfer-Encoding", "identity")
			sse.Serve(w, r, func(yield func(sse.Event, error) bool) { yield(sse.Event{}, errors.New("secret")) }, nil)
		}), nil)
		if _, err := io.ReadAll(get(t, srv, false).Body); err == nil {
			t.Error("the client takes it for a clean end")
		}
	})
}

func TestServeLeavesXAccelBuffering(t *testing.T) {
	rec := httptest.NewRecorder()
	rec.Header().Set("X-Accel-Buffering", "yes")
	if err := sse.Serve(rec, httptest.NewRequest("GET", "/", nil), of(), nil); err != nil {
		t.Fatal(err)
	}
	if got := rec.Header().Get("X-Accel-Buffering"); got != "yes" {
		t.Errorf("X-Accel-Buffering: %q", got)
	}
}

// A writer with only FlushError can flush.
func TestServeWithFlushErrorAlone(t *testing.T) {
	rec := httptest.NewRecorder()
	w := struct {
		opaque
		flusher
	}{opaque{rec}, flusher{}}
	if err := sse.Serve(w, httptest.NewRequest("GET", "/", nil), of(sse.Event{Data: "x"}), nil); err != nil || rec.Code != 200 {
		t.Errorf("%v, status %d", err, rec.Code)
	}
}

type flusher struct{}

func (flusher) FlushError() error { return nil }

// A request's context may end after Serve has returned. Serve then logs no
// warning, however late that is.
func TestServeWatchesNoLongerThanItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		opts := &sse.ServeOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))}
		ctx, cancel := context.WithCancel(t.Context())
		r := httptest.NewRequest("GET", "/", nil).WithContext(ctx)
		sse.Serve(httptest.NewRecorder(), r, of(), opts)
		time.AfterFunc(time.Second, cancel)
		sse.Serve(httptest.NewRecorder(), r, deafSequence(3*time.Second), opts)
		time.Sleep(time.Hour)
		if log.String() != "" {
			t.Errorf("log: %s", log.String())
		}
	})
}

// The warning also names the function that returned the sequence to the
// Handler.
func TestHandlerWarningNamesWhereTheSequenceIsFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		h := sse.Handler(openDeaf, &sse.ServeOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil).WithContext(ctx))
		if got := log.String(); !strings.Contains(got, "opened_by=example.com/tidings/sse_test.openDeaf") || !strings.Contains(got, "defects_test.go:") {
			t.Errorf("log: %s", got)
		}
	})
}

// A sequence that is told to stop, but does not return soon, also causes a
// warning.
func TestServeWarnsOfASequenceThatLingers(t *testing.T) {
	for name, yields := range map[string]func(yield func(sse.Event, error) bool){
		"after its client has left": func(yield func(sse.Event, error) bool) {
			for yield(sse.Event{Data: "x"}, nil) {
				time.Sleep(time.Second)
			}
		},
		"after its error": func(yield func(sse.Event, error) bool) { yield(sse.Event{}, errors.New("secret")) },
	} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, h2 bool) {
				var log logBuffer
				h := serve(&sse.ServeOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(*http.Request) events {
					return func(yield func(sse.Event, error) bool) {
						yields(yield)
						time.Sleep(time.Minute)
					}
				})
				srv := memhttp.New(t, h, nil)
				body := get(t, srv, h2).Body
				io.ReadFull(body, make([]byte, len("data: x\n\n"))) // or until it breaks
				body.Close()
				<-h.result
				if got := log.String(); strings.Count(got, "level=WARN") != 1 {
					t.Errorf("log: %s", got)
				}
			})
		})
	}
}

func openDeaf(*http.Request) (events, error) { return deafSequence(time.Minute), nil }

// counting counts the writes after the one that failed.
type counting struct {
	failing
	after int
}

func (w *counting) Write(p []byte) (int, error) {
	n, err := w.failing.Write(p)
	if err != nil {
		w.after++
	}
	return n, err
}

func TestServeWritesNothingAfterAFailedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &counting{failing: failing{httptest.NewRecorder(), errors.New("broken pipe")}}
		sse.Serve(w, httptest.NewRequest("GET", "/", nil), func(yield func(sse.Event, error) bool) {
			yield(sse.Event{Data: "x"}, nil)
			time.Sleep(time.Hour) // keep-alives would fail again and again
			yield(sse.Event{Data: "y"}, nil)
		}, nil)
		if w.after != 1 {
			t.Errorf("%d writes failed, want 1", w.after)
		}
	})
}

// deadlines records the last write deadline.
type deadlines struct {
	failing
	last time.Time
}

func (w *deadlines) SetWriteDeadline(t time.Time) error {
	w.last = t
	return nil
}

func TestServeBreaksOffAfterAKeepAliveThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &deadlines{failing: failing{httptest.NewRecorder(), errors.New("compressor: closed")}}
		sse.Serve(w, httptest.NewRequest("GET", "/", nil), func(yield func(sse.Event, error) bool) {
			yield(sse.Event{Data: "x"}, nil)
			time.Sleep(time.Minute)
		}, nil)
		if w.last.IsZero() || w.last.After(time.Now()) {
			t.Errorf("the last deadline is %v", w.last)
		}
	})
}

// A client that reads the events, but not the end of the response, holds the
// connection no longer than the write timeout.
func TestServeStalledAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan struct{})
		h := serve(nil, func(*http.Request) events { return of(sse.Event{Data: "x"}) })
		srv := memhttp.New(t, h, func(s *http.Server) {
			s.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateClosed {
					close(closed)
				}
			}
		})
		c, err := srv.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		readHead(t, c)
		io.ReadFull(c, make([]byte, len("9\r\ndata: x\n\n\r\n")))
		start := time.Now()
		<-closed
		if elapsed := time.Since(start); elapsed != 10*time.Second {
			t.Errorf("closed after %v", elapsed)
		}
	})
}

func TestServeSendsNoKeepAliveAfterTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := httptest.NewRecorder()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		opts := &sse.ServeOptions{Logger: slog.New(slog.DiscardHandler)}
		sse.Serve(rec, httptest.NewRequest("GET", "/", nil).WithContext(ctx), deafSequence(time.Hour), opts)
		if got := rec.Body.String(); got != ":\n" {
			t.Errorf("body = %q", got)
		}
	})
}

// The panic of the sequence reaches net/http, even if breaking the response off
// would end the goroutine in another way.
func TestServeKeepsTheSequencesPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var recovered any
		srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() { recovered = recover(); panic(http.ErrAbortHandler) }()
			sse.Serve(&flushing{ResponseWriter: w}, r, func(func(sse.Event, error) bool) { panic("its own") }, nil)
		}), nil)
		io.ReadAll(get(t, srv, false).Body)
		synctest.Wait()
		if recovered != "its own" {
			t.Errorf("recovered %v", recovered)
		}
	})
}

// If the connection can be hijacked, breaking off needs no panic.
func TestServeBreaksOffByHijackWithoutAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var recovered any
		srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() { recovered = recover() }()
			sse.Serve(struct {
				*flushing
				http.Hijacker
			}{&flushing{ResponseWriter: w}, w.(http.Hijacker)}, r,
				func(yield func(sse.Event, error) bool) { yield(sse.Event{}, errors.New("secret")) }, nil)
		}), nil)
		_, err := io.ReadAll(get(t, srv, false).Body)
		synctest.Wait()
		if err == nil || recovered != nil {
			t.Errorf("the client sees %v; recovered %v", err, recovered)
		}
	})
}

func TestServeReturnsTheCauseWhenItCuts(t *testing.T) {
	why := errors.New("over quota")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := sse.Serve(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil).WithContext(ctx),
		func(yield func(sse.Event, error) bool) {
			cancel(why)
			yield(sse.Event{Data: "x"}, nil)
		}, nil)
	if err != why {
		t.Errorf("Serve = %v", err)
	}
}

func TestStatusErrorCarriesItsReason(t *testing.T) {
	why := errors.New("no such table")
	err := fmt.Errorf("open: %w", &sse.StatusError{Status: 503, Err: why})
	if !errors.Is(err, why) || !strings.Contains(err.Error(), "no such table") || !strings.Contains(err.Error(), "503") {
		t.Errorf("%v", err)
	}
}

func TestStatusErrorWithAStatusThatIsNone(t *testing.T) {
	for _, status := range []int{0, 100, 200, 299, 600, 1000, -1} {
		rec := httptest.NewRecorder()
		(&sse.StatusError{Status: status}).ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
		if rec.Code != 500 {
			t.Errorf("Status %d is answered with %d", status, rec.Code)
		}
	}
}

// A line that arrives byte by byte is not searched again for each byte. If it
// were, this test would take many minutes.
func TestDecodeTakesLinearTime(t *testing.T) {
	line := append(bytes.Repeat([]byte("x"), 4<<20), "\n\n"...)
	in := io.MultiReader(strings.NewReader("data:"), bytes.NewReader(line))
	for ev, err := range sse.Decode(iotest.OneByteReader(in), nil) {
		if len(ev.Data) != 4<<20 || err != nil {
			t.Errorf("%d bytes, %v", len(ev.Data), err)
		}
	}
}
