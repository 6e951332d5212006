package server_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/server"
)

// A discarder is a ResponseWriter that keeps the status alone.
type discarder struct {
	header http.Header
	status int
}

func (d *discarder) Header() http.Header         { return d.header }
func (d *discarder) WriteHeader(status int)      { d.status = status }
func (d *discarder) Write(b []byte) (int, error) { return len(b), nil }

// What the server costs for one message, the log in memory included, and net/http not.
func BenchmarkPublish(b *testing.B) {
	logger := slog.New(slog.DiscardHandler)
	h, err := hub.New(b.Context(), eventlog.NewMemory(nil), &hub.Options{Logger: logger})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	s, err := server.New(server.Config{Logger: logger})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	handler := s.Handler(h)
	body := strings.NewReader("")
	r := httptest.NewRequest("POST", "/topics/orders.42.status", nil)
	r.Host, r.Body, r.ContentLength = "127.0.0.1:8080", io.NopCloser(body), 100
	data := strings.Repeat("x", 100)
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(data)
		w := discarder{header: http.Header{}}
		handler.ServeHTTP(&w, r)
		if w.status != http.StatusCreated {
			b.Fatal(w.status)
		}
	}
}
