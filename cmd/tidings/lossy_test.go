package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A slowReader takes a line when it is told to.
type slowReader struct {
	proceed chan struct{}
	mu      sync.Mutex
	got     strings.Builder
}

func (s *slowReader) Write(p []byte) (int, error) {
	<-s.proceed
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.Write(p)
}

// Lines that nobody reads neither block who writes them nor Flush. Those beyond the bound are
// dropped, and the reader is told how many once it goes on.
func TestLossyWriter(t *testing.T) {
	r := &slowReader{proceed: make(chan struct{})}
	l := newLossyWriter(r)
	defer l.Close()
	const line = 1 << 10
	const fit = lossyBytes / line
	for i := range fit + 10 {
		fmt.Fprintf(l, "%0*d\n", line-1, i)
	}
	if n := l.Dropped(); n != 10 {
		t.Errorf("%d lines were dropped, want 10", n)
	}
	l.Flush(time.Millisecond) // returns although nothing was read
	close(r.proceed)
	l.Flush(time.Minute)
	lines := strings.Split(strings.TrimSuffix(r.got.String(), "\n"), "\n")
	if len(lines) != fit+1 || !strings.HasSuffix(lines[fit-1], fmt.Sprint(fit-1)) || !strings.Contains(lines[fit], " 10 lines ") {
		t.Errorf("the reader got %d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
	fmt.Fprintln(l, "goes on")
	l.Flush(time.Minute)
	if !strings.HasSuffix(r.got.String(), "read them\ngoes on\n") || l.Dropped() != 10 {
		t.Errorf("the reader got %q at last, and %d lines were dropped", lines[len(lines)-1], l.Dropped())
	}
}

// Flush waits as long as it may, and not longer.
func TestLossyWriterFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		w := newLossyWriter(writerFunc(func(p []byte) (int, error) {
			<-done
			return len(p), nil
		}))
		defer w.Close()
		fmt.Fprintln(w, "a line")
		start := time.Now()
		w.Flush(time.Second)
		if d := time.Since(start); d != time.Second {
			t.Errorf("Flush took %v, want a second", d)
		}
		close(done)
		w.Flush(time.Minute)
		if d := time.Since(start); d != time.Second {
			t.Errorf("Flush waits for nothing, and took %v", d)
		}
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
