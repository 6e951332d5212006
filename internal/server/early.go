package server

import (
	"net/http"
	"runtime"
	"sync"
	"time"
)

// A client may send many requests at once, over HTTP/2 or without waiting for the answers. Nothing
// stops such requests until a socket is full: hundreds of clients would each take whole slices of a
// processor's time, and every message would wait behind them. So these requests begin in turns.
const (
	// atOnce is how soon after a response over HTTP/1 a request is there only if the client has
	// sent it before.
	atOnce = 20 * time.Microsecond

	// earlyPlaces is how many such requests are under way at a time, until their bodies are read
	// or they answer. Another one begins each earlyTime: those before it may wait for their clients.
	earlyPlaces = 8
	earlyTime   = time.Millisecond
)

// A line has the connections whose early requests wait for their turn. Its methods may be called
// concurrently.
type line struct {
	mu       sync.Mutex
	underWay int
	waiting  []chan struct{} // the longest first
	moving   bool            // move will be called
}

// enter waits for a turn. The caller calls leave when the request is over.
func (l *line) enter() {
	l.mu.Lock()
	if l.underWay < earlyPlaces {
		l.underWay++
		l.mu.Unlock()
	} else {
		turn := make(chan struct{})
		l.waiting = append(l.waiting, turn)
		l.moveLater()
		l.mu.Unlock()
		<-turn
	}
	runtime.Gosched() // the one before has ended just now: others first
}

func (l *line) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.underWay--; l.underWay < earlyPlaces {
		l.admit()
	}
}

// admit lets the next one begin. The caller has l.mu.
func (l *line) admit() {
	if len(l.waiting) > 0 {
		l.underWay++
		close(l.waiting[0])
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
	}
}

// moveLater has the line move after a while. The caller has l.mu.
func (l *line) moveLater() {
	if !l.moving && len(l.waiting) > 0 {
		l.moving = true
		time.AfterFunc(earlyTime, l.move)
	}
}

func (l *line) move() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moving = false
	l.admit()
	l.moveLater()
}

// serveHTTP answers a request over HTTP/2 when it is its turn.
func (l *line) serveHTTP(next http.HandlerFunc, w http.ResponseWriter, r *http.Request) {
	l.enter()
	if r.Context().Err() != nil { // the client has reset it meanwhile
		l.leave()
		return
	}
	a := &answering{ResponseWriter: w, line: l}
	defer a.begin()
	next(a, r)
}

// An answering leaves the line when the answer begins. One goroutine uses it at a time.
type answering struct {
	http.ResponseWriter
	line *line // nil once it has left
}

func (a *answering) begin() {
	if a.line != nil {
		a.line.leave()
		a.line = nil
	}
}

// Unwrap is for http.ResponseController.
func (a *answering) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answering) WriteHeader(status int) {
	a.begin()
	a.ResponseWriter.WriteHeader(status)
}

func (a *answering) Write(b []byte) (int, error) {
	a.begin()
	return a.ResponseWriter.Write(b)
}

// FlushError is for http.ResponseController: a stream sends its head with a flush.
func (a *answering) FlushError() error {
	a.begin()
	return http.NewResponseController(a.ResponseWriter).Flush()
}
