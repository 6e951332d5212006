package sse_test

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/memhttp"
	"example.com/tidings/sse"
)

// A middleware that recovers from everything does not make a broken stream look
// complete, whatever methods its writer hides.
func TestServeBreaksOffPastAMiddlewareThatRecovers(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() { recover() }()
			sse.Serve(&flushing{ResponseWriter: w}, r, func(yield func(sse.Event, error) bool) {
				_ = yield(sse.Event{Data: "x"}, nil) && yield(sse.Event{}, errors.New("secret"))
			}, nil)
		}), nil)
		if body, err := io.ReadAll(get(t, srv, h2).Body); string(body) != "data: x\n\n" || err == nil {
			t.Errorf("%q, %v; want a broken response", body, err)
		}
	})
}

// The type of a writer may not be comparable.
func TestServeWithAWriterThatCannotBeCompared(t *testing.T) {
	rec := httptest.NewRecorder()
	w := struct {
		*httptest.ResponseRecorder
		_ []int
	}{ResponseRecorder: rec}
	err := sse.Serve(w, httptest.NewRequest("GET", "/", nil), of(sse.Event{Data: "x"}), nil)
	if err != nil || rec.Body.String() != "data: x\n\n" {
		t.Errorf("%q, %v", rec.Body, err)
	}
}

// cookieWriter is a wrapper that sets a header when the headers go out.
type cookieWriter struct{ http.ResponseWriter }

func (w cookieWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
func (w cookieWriter) WriteHeader(status int) {
	w.Header().Set("Set-Cookie", "session=1")
	w.ResponseWriter.WriteHeader(status)
}

func TestServeTellsWrappersBeforeTheHeadersGoOut(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		h := serve(nil, func(r *http.Request) events { return until(r.Context()) })
		srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(cookieWriter{w}, r)
		}), nil)
		if got := get(t, srv, h2).Header.Get("Set-Cookie"); got != "session=1" {
			t.Errorf("Set-Cookie: %q", got)
		}
	})
}

// shortFlush flushes the inner writer only if that has Flush itself.
type shortFlush struct{ http.ResponseWriter }

func (w shortFlush) Unwrap() http.ResponseWriter { return w.ResponseWriter }
func (w shortFlush) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

func TestServeFlushesPastAWrapperThatStopsShort(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		had := make(chan struct{})
		h := serve(&sse.ServeOptions{KeepAlive: -1}, func(*http.Request) events {
			return func(yield func(sse.Event, error) bool) {
				yield(sse.Event{Data: "x"}, nil)
				<-had // if the event is held back, the bubble deadlocks
			}
		})
		srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(shortFlush{unwrapping{w}}, r)
		}), nil)
		res := get(t, srv, h2)
		if _, err := io.ReadFull(res.Body, make([]byte, len("data: x\n\n"))); err != nil {
			t.Error(err)
		}
		close(had)
	})
}

// hijacker records that Hijack was called.
type hijacker struct{ asked *bool }

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	*h.asked = true
	return nil, nil, http.ErrNotSupported
}

// A wrapper may have a Hijack that panics if the inner writer has none.
func TestServeDoesNotHijackOverHTTP2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hijacked := false
		srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sse.Serve(struct {
				*flushing
				hijacker
			}{&flushing{ResponseWriter: w}, hijacker{&hijacked}}, r,
				func(yield func(sse.Event, error) bool) { yield(sse.Event{}, errors.New("secret")) }, nil)
		}), nil)
		if _, err := io.ReadAll(get(t, srv, true).Body); err == nil {
			t.Error("the client takes it for a clean end")
		}
		if hijacked {
			t.Error("Hijack was called")
		}
	})
}

// A sequence may wait for the request's context during its clean-up. That does
// not delay the broken response, because breaking off ends the context.
func TestServeErrorEndsTheRequestsContext(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		var log logBuffer
		h := sse.Handler(func(r *http.Request) (events, error) {
			return func(yield func(sse.Event, error) bool) {
				defer func() { <-r.Context().Done() }()
				yield(sse.Event{}, errors.New("secret"))
			}, nil
		}, &sse.ServeOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		srv := memhttp.New(t, h, nil)
		start := time.Now()
		body, err := io.ReadAll(get(t, srv, h2).Body)
		if len(body) > 0 || err == nil || time.Since(start) != 0 {
			t.Errorf("%q, %v after %v; want a broken response at once", body, err, time.Since(start))
		}
		synctest.Wait()
		if got := log.String(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "secret") {
			t.Errorf("log: %s", got)
		}
	})
}
