package sse_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/tidings/internal/memhttp"
	"example.com/tidings/sse"
)

type problem struct{}

func (problem) Error() string { return "secret" }
func (problem) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusForbidden)
	io.WriteString(w, `{"type":"urn:x"}`)
}

func TestHandlerMayRefuse(t *testing.T) {
	tests := []struct {
		name        string
		err         error
		status      int
		body        string
		contentType string
		logged      bool
	}{
		{"with a status and a message", &sse.StatusError{Status: 401, Message: "Who are you?", Err: errors.New("secret")},
			401, "Who are you?\n", "text/plain; charset=utf-8", true},
		{"with a status alone", &sse.StatusError{Status: 404}, 404, "Not Found\n", "text/plain; charset=utf-8", false},
		{"with 204, which tells an EventSource to stop", &sse.StatusError{Status: 204}, 204, "", "", false},
		{"with an error that answers for itself", problem{}, 403, `{"type":"urn:x"}`, "application/problem+json", false},
		{"with a wrapped one", errors.Join(errors.New("secret"), problem{}), 403, `{"type":"urn:x"}`, "application/problem+json", false},
		{"with any other error: 500, logged and not told", errors.New("secret"), 500, "Internal Server Error\n", "text/plain; charset=utf-8", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log logBuffer
			h := sse.Handler(func(*http.Request) (events, error) { return nil, tt.err },
				&sse.ServeOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
			if rec.Code != tt.status || rec.Body.String() != tt.body || rec.Header().Get("Content-Type") != tt.contentType {
				t.Errorf("%d %v %q", rec.Code, rec.Header(), rec.Body)
			}
			if strings.Contains(log.String(), "secret") != tt.logged {
				t.Errorf("log: %s", log.String())
			}
		})
	}
}

func TestStatusErrorSetsItsHeader(t *testing.T) {
	h := sse.Handler(func(*http.Request) (events, error) {
		return nil, &sse.StatusError{Status: 503, Header: http.Header{"retry-after": {"7"}}}
	}, nil)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if rec.Code != 503 || rec.Header().Get("Retry-After") != "7" {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}
}

func TestHandlerLogsAFailure(t *testing.T) {
	var log logBuffer
	h := sse.Handler(func(*http.Request) (events, error) {
		return func(yield func(sse.Event, error) bool) { yield(sse.Event{}, errors.New("secret")) }, nil
	}, &sse.ServeOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", "/events", nil))
	if got := log.String(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "error=secret") || !strings.Contains(got, "path=/events") {
		t.Errorf("log: %s", got)
	}
	if strings.Contains(rec.Body.String(), "secret") {
		t.Errorf("the client was told: %q", rec.Body)
	}
}

// A failure is logged even if breaking off ends the goroutine.
func TestHandlerLogsAFailureThatEndsTheGoroutine(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		var log logBuffer
		h := sse.Handler(func(*http.Request) (events, error) {
			return func(yield func(sse.Event, error) bool) { yield(sse.Event{}, errors.New("secret")) }, nil
		}, &sse.ServeOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(&flushing{ResponseWriter: w}, r)
		}), nil)
		io.ReadAll(get(t, srv, h2).Body)
		synctest.Wait()
		if got := log.String(); strings.Count(got, "a stream failed") != 1 {
			t.Errorf("log: %s", got)
		}
	})
}

func TestHandlerOpensForHEADWithoutRanging(t *testing.T) {
	opened := false
	h := sse.Handler(func(*http.Request) (events, error) {
		opened = true
		return func(func(sse.Event, error) bool) { t.Error("the sequence was ranged") }, nil
	}, nil)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("HEAD", "/", nil))
	if !opened || rec.Code != 200 || rec.Header().Get("Content-Type") != "text/event-stream" {
		t.Errorf("opened: %v, %d %v", opened, rec.Code, rec.Header())
	}
}

func TestHandlerLogsADeadClientAtDebugOnly(t *testing.T) {
	var log logBuffer
	h := sse.Handler(func(*http.Request) (events, error) {
		return of(sse.Event{Data: "1"}, sse.Event{Data: "2"}), nil
	}, &sse.ServeOptions{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	h.ServeHTTP(&failing{httptest.NewRecorder(), errors.New("broken pipe")}, httptest.NewRequest("GET", "/", nil))
	if got := log.String(); !strings.Contains(got, "level=DEBUG") || !strings.Contains(got, "broken pipe") || strings.Contains(got, "ERROR") {
		t.Errorf("log: %s", got)
	}
}
