package server_test

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/memhttp"
	"example.com/tidings/internal/server"
)

// A slow or silent client cannot hold a connection for ever.
func TestConnectionsOfSlowClientsEnd(t *testing.T) {
	const get = "GET /app.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
	tests := []struct {
		name  string
		sends string
		reads bool
		want  time.Duration
	}{
		{"nothing is sent", "", true, 10 * time.Second},
		{"half of a head", "GET /events HTTP/1.1\r\nHo", true, 10 * time.Second},
		{"half of a body", "POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{", true, server.DefaultReadTimeout},
		{"no further request", get, true, 2 * time.Minute},
		{"a response is not read", get, false, server.DefaultReadTimeout + server.DefaultWriteTimeout},
		{"a stream is not read", "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n", false, server.DefaultWriteTimeout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := server.New(server.Config{DefaultTopic: "messages", Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				h := newHub(t, server.Config{Logger: slog.New(slog.DiscardHandler)}, eventlog.NewMemory(nil), hub.Options{})
				defer h.Close()
				c, err := memhttp.Serve(t, s.HTTP(h)).Dial()
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				start := time.Now()
				if _, err := io.WriteString(c, tt.sends); err != nil {
					t.Fatal(err)
				}
				if !tt.reads {
					// Do not read from the pipe until the timeout must be over.
					time.Sleep(tt.want + time.Second)
					c.SetReadDeadline(time.Now().Add(time.Second))
				}
				if _, err := io.Copy(io.Discard, c); err != nil {
					t.Fatalf("still there after %v: %v", time.Since(start), err)
				}
				if elapsed := time.Since(start); elapsed > tt.want+time.Second {
					t.Errorf("ended after %v, want %v", elapsed, tt.want)
				}
			})
		})
	}
}

// The program exits within a second of a signal. The grace leaves time for other steps.
func TestShutdownGraceIsBelowASecond(t *testing.T) {
	if server.ShutdownGrace > 800*time.Millisecond {
		t.Errorf("the grace is %v", server.ShutdownGrace)
	}
	doc, err := os.ReadFile("../../docs/http-api.md")
	if err != nil {
		t.Fatal(err)
	}
	if says := fmt.Sprintf("after %d ms is cut", server.ShutdownGrace.Milliseconds()); !strings.Contains(string(doc), says) {
		t.Errorf("docs/http-api.md does not say %q", says)
	}
}
