package request

import (
	"io"
	"net/http"
	"time"
)

// The bounds of what Refuse reads and drops.
const (
	refusedBytes = 16 << 20
	refusedTime  = 5 * time.Second
	mostRefused  = 64 // connections at once
)

// refusing has an element for each connection whose body is being dropped.
var refusing = make(chan struct{}, mostRefused)

// Refuse answers a request with a refusal, although its body may not have been read. A client
// that sends all of its body before it reads would not see the answer: once the server
// closes the connection, its system answers further data with a reset, and the client's
// system then drops what it has received (RFC 9112, section 9.6). So Refuse reads the rest and
// drops it, within bounds. Beyond them the answer may be lost.
func Refuse(w http.ResponseWriter, r *http.Request, refusal http.Handler) {
	if !unread(r) || !hold() {
		refusal.ServeHTTP(w, r)
		return
	}
	defer func() { <-refusing }()
	rc := http.NewResponseController(w)
	w.Header().Set("Connection", "close")
	err := rc.EnableFullDuplex() // otherwise net/http reads a part of the body before it answers
	refusal.ServeHTTP(w, r)
	if err != nil || rc.Flush() != nil || rc.SetReadDeadline(time.Now().Add(refusedTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, r.Body, refusedBytes) // however it ends
}

// unread reports whether a client may send a body that nobody reads. HTTP/2 tells it to stop.
// One that expects 100 Continue waits for the answer.
func unread(r *http.Request) bool {
	return r.ContentLength != 0 && r.Body != http.NoBody && r.ProtoMajor == 1 && r.Header.Get("Expect") == ""
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
