package httpapi_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
)

// A discarder is a ResponseWriter that keeps the status alone.
type discarder struct {
	header http.Header
	status int
}

func (d *discarder) Header() http.Header         { return d.header }
func (d *discarder) WriteHeader(status int)      { d.status = status }
func (d *discarder) Write(b []byte) (int, error) { return len(b), nil }

func benchmark(b *testing.B, path, body string, want int, header ...string) {
	h, err := hub.New(context.Background(), eventlog.NewMemory(nil), &hub.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	api := httpapi.New(h, nil)
	r := httptest.NewRequest("POST", path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	reader := strings.NewReader(body)
	r.ContentLength = int64(len(body))
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		reader.Reset(body)
		r.Body = io.NopCloser(reader)
		w := discarder{header: http.Header{}}
		api.ServeHTTP(&w, r)
		if w.status != want {
			b.Fatal(w.status)
		}
	}
}

// What the API costs for one message, the log in memory included.
func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{100, 10_000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			benchmark(b, "/topics/orders.42.status", strings.Repeat("x", size), 201, "Content-Type", "text/plain")
		})
	}
}

func BenchmarkBatch(b *testing.B) {
	const line = `{"topic":"orders.42.status","data":{"status":"shipped","carrier":"a pigeon","weight":1.25,"fragile":true}}` + "\n"
	benchmark(b, "/batch", strings.Repeat(line, 100), 200, "Content-Type", "application/x-ndjson")
}

// The parsing alone.
func BenchmarkParseBatch(b *testing.B) {
	const line = `{"topic":"orders.42.status","data":{"status":"shipped","carrier":"a pigeon","weight":1.25,"fragile":true}}` + "\n"
	body := []byte(strings.Repeat(line, 100))
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, _, err := httpapi.ParseBatch(body, 1<<20); err != nil {
			b.Fatal(err)
		}
	}
}
