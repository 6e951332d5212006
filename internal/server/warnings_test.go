package server_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/server"
)

// Of each kind one warning is logged within some time, and then how many were left out.
func TestWarningsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b logBuffer
		w, closeAll := server.NewWarnings(slog.New(slog.NewTextHandler(&b, nil)))
		for i := range 1000 {
			fmt.Fprintf(w, "http2: server connection error from 127.0.0.1:%d: connection error: PROTOCOL_ERROR\n", i)
			fmt.Fprintf(w, "http: TLS handshake error from 127.0.0.1:%d: EOF\n", i)
		}
		fmt.Fprintf(w, "http: panic serving 127.0.0.1:%d: oh\n", 1)
		seen := 0
		wantLines := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			text := b.String()[seen:]
			seen += len(text)
			got := strings.Count(text, "\n")
			for _, line := range want {
				if !strings.Contains(text, line) {
					t.Errorf("%s: no %s in\n%s", when, line, text)
				}
			}
			if got != len(want) {
				t.Errorf("%s: %d lines, want %d:\n%s", when, got, len(want), text)
			}
		}
		wantLines("at first", `127.0.0.1:0: connection error`, `TLS handshake error from 127.0.0.1:0`, `panic serving 127.0.0.1:1: oh`)
		time.Sleep(server.WarnEvery)
		wantLines("later", `kind="http2: server connection error" left_out=999`, `kind="http: TLS handshake error" left_out=999`)
		fmt.Fprintln(w, "http: TLS handshake error from 127.0.0.1:1: EOF")
		fmt.Fprintln(w, "http: panic serving 127.0.0.1:1: again")
		wantLines("while it goes on", `serving 127.0.0.1:1: again`)
		closeAll()
		wantLines("at the end", `left_out=1`)
	})
}

// Kinds that a client makes up do not take memory, or lines, without end.
func TestKindsOfWarningsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		w, closeAll := server.NewWarnings(slog.New(slog.NewTextHandler(&b, nil)))
		defer closeAll()
		for i := range 1000 {
			fmt.Fprintf(w, "odd%d\n", i)
		}
		if n := strings.Count(b.String(), "\n"); n > 100 {
			t.Errorf("%d lines of as many kinds", n)
		}
	})
}

// One scrape runs at a time. Requests that come meanwhile share the next one.
func TestScrapesAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, scrapes atomic.Int64
		get := server.Scrapes(func() int {
			if running.Add(1) > 1 {
				t.Error("two scrapes at a time")
			}
			defer running.Add(-1)
			time.Sleep(10 * time.Millisecond)
			return int(scrapes.Add(1))
		})
		results := make(chan int, 100)
		ask := func() {
			n, err := get(t.Context())
			if err != nil {
				t.Error(err)
			}
			results <- n
		}
		go ask()
		synctest.Wait()
		for range 50 {
			go ask()
		}
		if n := <-results; n != 1 {
			t.Errorf("the first request got scrape %d", n)
		}
		for range 50 {
			if n := <-results; n != 2 {
				t.Errorf("a request that came during the first scrape got scrape %d", n)
			}
		}
		time.Sleep(time.Second)
		if n := scrapes.Load(); n != 2 {
			t.Errorf("%d scrapes, want 2", n)
		}
	})
}

// A request does not wait for a scrape that hangs.
func TestScrapeThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		get := server.Scrapes(func() int { <-hang; return 200 })
		begin := time.Now()
		if _, err := get(t.Context()); err == nil || time.Since(begin) != server.ScrapeWait {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := get(ctx); err != context.Canceled {
			t.Errorf("a client that has left gets %v", err)
		}
		close(hang)
		if n, err := get(t.Context()); n != 200 || err != nil {
			t.Errorf("afterwards: %d, %v", n, err)
		}
	})
}
