//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// An account is what a server holds.
type account struct {
	Descriptors int
	Goroutines  int
	Heap        int64 // in use, after a collection
}

// metrics returns the values of GET /metrics, by name with labels.
func (s *server) metrics() (map[string]float64, error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + s.admin + "/metrics")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET /metrics: %s", res.Status)
	}
	values := map[string]float64{}
	for line := range bytes.Lines(b) {
		name, value, ok := strings.Cut(strings.TrimSpace(string(line)), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && name != "#" && err == nil {
			values[name] = v
		}
	}
	return values, nil
}

// account returns what the server holds. It asks for metrics until their garbage has made the
// server collect twice: the first collection may have begun before.
func (s *server) account(deadline time.Time) (a account, err error) {
	a = account{Goroutines: math.MaxInt, Heap: math.MaxInt64}
	first := math.NaN()
	for {
		m, err := s.metrics()
		switch {
		case err != nil && time.Now().After(deadline):
			return a, err
		case err != nil:
			time.Sleep(50 * time.Millisecond)
			continue
		}
		collections := m["go_gc_duration_seconds_count"]
		if math.IsNaN(first) {
			first = collections
		}
		a.Descriptors = s.descriptors()
		a.Goroutines = min(a.Goroutines, int(m["go_goroutines"]))
		if collections > first || time.Now().After(deadline) {
			a.Heap = min(a.Heap, int64(m["go_memstats_heap_inuse_bytes"]))
		}
		if collections > first+1 || time.Now().After(deadline) {
			return a, nil
		}
	}
}
