package request

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// The bounds of what Refuse reads and drops.
const (
	refusedBytes = 16 << 20
	refusedTime  = 5 * time.Second
	mostRefused  = 64 // connections at once

	// expectingTime is for a client that has sent Expect: 100-continue, and sends its body
	// without waiting.
	expectingTime = 500 * time.Millisecond
)

// refusing has an element for each connection whose body is being dropped.
var refusing = make(chan struct{}, mostRefused)

// Refuse answers a request with a refusal, although its body may not have been read. A client
// that sends all of its body before it reads would not see the answer: once the server
// closes the connection, its system answers further data with a reset, and the client's
// system then drops what it has received (RFC 9112, section 9.6). So Refuse reads the rest and
// drops it, within bounds. Beyond them the connection is closed in stages, and the answer is lost
// to a client that sends for half a second more.
func Refuse(w http.ResponseWriter, r *http.Request, refusal http.Handler) {
	rc := http.NewResponseController(w)
	switch {
	case !unread(r):
		refusal.ServeHTTP(w, r)
		return
	case r.Header.Get("Expect") != "": // the client waits for the answer
		refusal.ServeHTTP(w, r)
		_ = rc.SetReadDeadline(time.Now().Add(expectingTime)) // net/http waits for a body in chunks
		return
	case !hold():
		refusal.ServeHTTP(w, r)
		closeInStages(w)
		return
	}
	defer func() { <-refusing }()
	w.Header().Set("Connection", "close")
	err := rc.EnableFullDuplex() // otherwise net/http reads a part of the body before it answers
	refusal.ServeHTTP(w, r)
	if err != nil || rc.Flush() != nil || rc.SetReadDeadline(time.Now().Add(refusedTime)) != nil {
		return
	}
	if n, err := io.CopyN(io.Discard, r.Body, refusedBytes); n == refusedBytes || errors.Is(err, os.ErrDeadlineExceeded) {
		closeInStages(w)
	}
}

// closeInStages has net/http close the connection for writing when the handler returns, and
// close all of it half a second later. By itself net/http closes it at once if the request has
// Connection: close. It does not if a body was larger than a limit, so closeInStages reads one.
func closeInStages(w http.ResponseWriter) {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = wrapper.Unwrap()
	}
	_, _ = http.MaxBytesReader(w, io.NopCloser(strings.NewReader("x")), 0).Read(make([]byte, 1))
}

// unread reports whether a client may send a body that nobody reads. HTTP/2 tells it to stop.
func unread(r *http.Request) bool {
	return r.ContentLength != 0 && r.Body != http.NoBody && r.ProtoMajor == 1
}

// hold takes one of the places, unless all are taken.
func hold() bool {
	select {
	case refusing <- struct{}{}:
		return true
	default:
		return false
	}
}
