//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"
)

// newcomerEvery is how often newcomers come: one with a stream, and one with a message.
const newcomerEvery = time.Second

// A newcomerReport is what newcomers were answered since the last report.
type newcomerReport struct {
	Served  int     // streams and messages
	Refused int     // politely
	Wrong   int     // neither
	Why     string  // the last of the wrong ones
	Slowest float64 // of all, in milliseconds; those that still wait count with their time so far
}

// newcomers are clients that come during the attack.
type newcomers struct {
	mu      sync.Mutex
	now     newcomerReport
	waiting map[int]time.Time // since when
	n       int
}

// come sends newcomers until ctx is done.
func (c *newcomers) come(ctx context.Context, addr string) {
	for tick := time.Tick(newcomerEvery); ; {
		go c.one(func() (answer, error) { return openOnce(addr, "/events?topic="+controlTopic, 10*time.Second) })
		go c.one(func() (answer, error) { return publishOnce(addr, "new.comer", "x", 10*time.Second) })
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
	}
}

// one asks once, and notes the answer.
func (c *newcomers) one(ask func() (answer, error)) {
	begin := time.Now()
	c.mu.Lock()
	if c.waiting == nil {
		c.waiting = map[int]time.Time{}
	}
	c.n++
	n := c.n
	c.waiting[n] = begin
	c.mu.Unlock()
	a, err := ask()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, n)
	c.now.Slowest = max(c.now.Slowest, milliseconds(time.Since(begin)))
	switch {
	case err == nil && a.good():
		c.now.Served++
	case err == nil && a.polite():
		c.now.Refused++
	case err != nil:
		c.now.Wrong++
		c.now.Why = err.Error()
	default:
		c.now.Wrong++
		c.now.Why = fmt.Sprintf("status %d: %.80q", a.status, a.text)
	}
}

func (c *newcomers) report(now time.Time) newcomerReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.now
	for _, since := range c.waiting {
		r.Slowest = max(r.Slowest, milliseconds(now.Sub(since)))
	}
	c.now = newcomerReport{}
	return r
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// good reports whether the newcomer got what it wanted.
func (a answer) good() bool {
	return a.status == 201 || a.status == 200 && bytes.Contains(a.text, []byte("event: tidings.open"))
}

// polite reports whether the newcomer is told to come back later.
func (a answer) polite() bool {
	if a.status == 503 {
		return a.header.Get("Retry-After") != ""
	}
	return a.status == 200 && bytes.Contains(a.text, []byte("event: tidings.unavailable")) && bytes.Contains(a.text, []byte("retry: "))
}
