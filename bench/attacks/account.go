//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
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

// collect has the server collect its garbage, twice: what a pool holds survives the first time.
func (s *server) collect() error {
	for range 2 {
		res, err := attackersClient.Get("http://" + s.admin + "/debug/pprof/heap?gc=1")
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err != nil {
			return err
		}
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("GET /debug/pprof/heap: %s", res.Status)
		}
	}
	return nil
}

// account returns what the server holds. Until the deadline it asks again if it cannot.
func (s *server) account(deadline time.Time) (a account, err error) {
	for {
		err = s.collect()
		var m map[string]float64
		if err == nil {
			m, err = s.metrics()
		}
		switch {
		case err == nil:
			return account{Descriptors: s.descriptors(), Goroutines: int(m["go_goroutines"]), Heap: int64(m["go_memstats_heap_inuse_bytes"])}, nil
		case time.Now().After(deadline):
			return a, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}
