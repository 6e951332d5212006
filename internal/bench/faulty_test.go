package bench_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// A faulty hub follows the API, except for its faults.
type faulty struct {
	// deliver writes message number n to a stream. Streams have an index in the
	// order in which they open, without the probe's stream.
	deliver func(s *stream, n int, data string)
	// publish may answer the POST of message number n, from 0, instead of the hub.
	// It reports whether it did.
	publish func(w http.ResponseWriter, n int) bool
	// subscribe may answer the request for a stream instead of the hub, likewise.
	subscribe func(w http.ResponseWriter, r *http.Request, index int) bool

	mu      sync.Mutex
	streams []*stream
	opened  int
	count   int
}

// A stream is one subscriber of a faulty hub.
type stream struct {
	index  int
	topic  string
	w      http.ResponseWriter
	held   string
	closed chan struct{}
}

// send writes an event with data, and flushes it.
func (s *stream) send(data string) { s.raw("data: " + data + "\nid: 1\n\n") }

// raw writes part of the stream, and flushes it.
func (s *stream) raw(text string) {
	io.WriteString(s.w, text)
	http.NewResponseController(s.w).Flush()
}

// end ends the stream. Only deliver may call it.
func (s *stream) end() {
	s.topic = "" // nothing more is sent
	close(s.closed)
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if topic, ok := strings.CutPrefix(r.URL.Path, "/topics/"); ok && r.Method == "POST" {
		f.post(w, r, topic)
		return
	}
	f.mu.Lock()
	index := f.opened - 1 // the first one is the probe
	f.opened++
	s := &stream{index: index, topic: r.URL.Query().Get("topic"), w: w, closed: make(chan struct{})}
	if index >= 0 && f.subscribe != nil && f.subscribe(w, r, index) {
		f.mu.Unlock()
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	s.raw("event: tidings.open\nretry: 2000\ndata: {}\nid: 0\n\n")
	if index >= 0 {
		f.streams = append(f.streams, s)
	}
	f.mu.Unlock()
	select {
	case <-r.Context().Done():
	case <-s.closed:
	}
	f.mu.Lock() // end all writes
	defer f.mu.Unlock()
	s.topic = ""
}

func (f *faulty) post(w http.ResponseWriter, r *http.Request, topic string) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "no body", http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.count
	f.count++
	if f.publish != nil && f.publish(w, n) {
		return
	}
	for _, s := range f.streams {
		if s.topic != topic {
			continue
		}
		if f.deliver != nil {
			f.deliver(s, n, string(data))
		} else {
			s.send(string(data))
		}
	}
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"id":"x-%d"}`, n)
}

// A hanging hub does not answer every second stream until release is closed.
type hanging struct {
	*faulty
	release chan struct{}
	streams atomic.Int32
}

func (h *hanging) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == "GET" && h.streams.Add(1)%2 == 0 {
		select {
		case <-h.release:
		case <-r.Context().Done():
		}
	}
	h.faulty.ServeHTTP(w, r)
}
