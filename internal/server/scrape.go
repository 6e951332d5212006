package server

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// scrapeWait is how long a request for the metrics waits for its scrape.
const scrapeWait = time.Second

// The bounds of the rest between two scrapes.
const (
	leastScrapeRest = 20 * time.Millisecond
	mostScrapeRest  = 100 * time.Millisecond
)

var errScrapeLate = errors.New("the metrics are not there in time")

// scrapes has the metrics collected by one goroutine at a time. Requests that come while it
// works wait for the next scrape and share it. Between two scrapes it rests as long as the first one
// took, so that metrics cost at most half of a CPU. Methods may be called concurrently.
type scrapes struct {
	collect func() *response
	rested  time.Time // when the next one may begin; of run

	mu      sync.Mutex
	running bool
	next    *scrape // not begun; nil if nobody waits for one
}

// A scrape is a response that several requests get.
type scrape struct {
	done chan struct{}
	*response
}

// get returns a response that was begun after the call.
func (s *scrapes) get(ctx context.Context) (*response, error) {
	s.mu.Lock()
	if s.next == nil {
		s.next = &scrape{done: make(chan struct{})}
	}
	mine := s.next
	if !s.running {
		s.running = true
		go s.run()
	}
	s.mu.Unlock()
	late := time.NewTimer(scrapeWait)
	defer late.Stop()
	select {
	case <-mine.done:
		return mine.response, nil
	case <-late.C:
		return nil, errScrapeLate
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run scrapes while somebody waits for it.
func (s *scrapes) run() {
	for {
		time.Sleep(time.Until(s.rested))
		s.mu.Lock()
		now := s.next
		s.next = nil
		s.mu.Unlock()
		begin := time.Now()
		now.response = s.collect()
		s.rested = time.Now().Add(min(mostScrapeRest, max(leastScrapeRest, time.Since(begin))))
		close(now.done)
		s.mu.Lock()
		s.running = s.next != nil
		goOn := s.running
		s.mu.Unlock()
		if !goOn {
			return
		}
	}
}

// A response is one in memory. As an http.ResponseWriter, it is for one goroutine.
type response struct {
	status int
	header http.Header
	body   bytes.Buffer
}

// Header, WriteHeader and Write implement [http.ResponseWriter].
func (r *response) Header() http.Header { return r.header }

func (r *response) WriteHeader(status int) { r.status = status }

func (r *response) Write(p []byte) (int, error) { return r.body.Write(p) }
