package hub

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/tidings/internal/delivery"
	"example.com/tidings/internal/window"
	"example.com/tidings/sse"
)

// takeable reports whether the connection of a request can be taken over: it is plain TCP,
// and the client has sent no more than the request.
func (h *Hub) takeable(r *http.Request) bool {
	if !h.opts.TakeOver || h.notTCP.Load() || r.Method != http.MethodGet ||
		r.ProtoMajor != 1 || r.ProtoMinor != 1 || r.TLS != nil || r.ContentLength != 0 {
		return false
	}
	_, isTCP := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return isTCP
}

// reserve finds a shard with a place for the request's connection, if that can be taken
// over.
func (s *stream) reserve(r *http.Request) error {
	if !s.hub.takeable(r) {
		return nil
	}
	if s.shard = s.hub.streams.Take(); s.shard == nil {
		return ErrUnavailable
	}
	return nil
}

// takeOver serves the stream without net/http, if that is possible. Once the connection is
// taken, nobody else uses the response, and the stream keeps its seat until it ends.
func (s *stream) takeOver(w http.ResponseWriter, r *http.Request) (taken bool, err error) {
	if s.shard == nil {
		return false, nil
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // a wrapper hides it
		s.shard.Yield()
		return false, nil
	}
	if err := s.adopt(conn, w.Header(), r); err != nil {
		s.shard.Yield()
		conn.Close()
		return true, err
	}
	s.seat.keep()
	return true, nil
}

// adopt gives a connection to the shard. After an error the caller closes the connection.
func (s *stream) adopt(conn net.Conn, header http.Header, r *http.Request) error {
	h := s.hub
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		// The listener wraps connections.
		if !h.notTCP.Swap(true) {
			h.opts.Logger.Warn("hub: connections are not taken over any more, because they are not plain TCP", "type", fmt.Sprintf("%T", conn))
		}
		s.turnAway(conn, header, r)
		return fmt.Errorf("%w: a %T cannot be taken over", ErrUnavailable, conn)
	}
	fd, err := delivery.Detach(tcp)
	if err != nil {
		h.opts.Logger.Warn("hub: a stream could not begin", "error", err)
		s.turnAway(conn, header, r)
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	opening := s.opening(r)
	opening.Head = head(header)
	answer := s.turnedAway(opening.Head, header, r)
	tooLate := func() {
		delivery.Write(fd, answer()) // the socket of a new stream has room
		h.wait(h.window.Context())
		delivery.Close(fd)
	}
	opening.TooLate = func() { go tooLate() }
	if !h.streams.OpenSocket(s.shard, fd, &opening) {
		tooLate()
		return ErrUnavailable
	}
	return nil
}

// turnAway answers as ServeUnavailable does, on a connection that is no longer net/http's. The
// caller closes it.
func (s *stream) turnAway(conn net.Conn, header http.Header, r *http.Request) {
	h := s.hub
	if h.opts.WriteTimeout > 0 {
		conn.SetWriteDeadline(time.Now().Add(h.opts.WriteTimeout))
	}
	if _, err := conn.Write(s.turnedAway(head(header), header, r)()); err == nil {
		h.wait(r.Context())
	}
}

// turnedAway returns a function that returns the whole answer of ServeUnavailable. head is that of
// the stream. The function may be called when the handler has returned, and others use its
// header and request.
func (s *stream) turnedAway(head []byte, header http.Header, r *http.Request) func() []byte {
	h, id := s.hub, s.sub.LastEventID
	if sse.Accepts(r) {
		return func() []byte { return append(slices.Clip(head), window.Chunk(h.unavailableEvent(id))...) }
	}
	header = header.Clone()
	return func() []byte {
		header.Set("Retry-After", h.RetryAfter())
		header.Set("Content-Type", "text/plain; charset=utf-8")
		var b bytes.Buffer
		(&http.Response{
			StatusCode: http.StatusServiceUnavailable, ProtoMajor: 1, ProtoMinor: 1, Header: header, Close: true,
			ContentLength: int64(len(tryLater)), Body: io.NopCloser(strings.NewReader(tryLater)),
		}).Write(&b)
		return b.Bytes()
	}
}

// replaced are the header fields that head sets, or that make no sense on a stream.
var replaced = map[string]bool{
	"Content-Type": true, "Content-Length": true, "Transfer-Encoding": true, "Trailer": true, "Connection": true, "Date": true,
}

// head returns the status line and the header of a response that is a stream.
func head(header http.Header) []byte {
	b := bytes.NewBuffer(make([]byte, 0, 1024))
	b.WriteString("HTTP/1.1 200 OK\r\n")
	header.WriteSubset(b, replaced)
	if header.Get("Cache-Control") == "" {
		b.WriteString("Cache-Control: no-cache\r\n")
	}
	if header.Get("X-Accel-Buffering") == "" {
		b.WriteString("X-Accel-Buffering: no\r\n")
	}
	b.WriteString("Content-Type: text/event-stream\r\nDate: ")
	b.Write(time.Now().UTC().AppendFormat(b.AvailableBuffer(), http.TimeFormat))
	// There is no Connection: close, although nobody reads another request (RFC 9112, section
	// 9.6, only recommends it). With it, the fetch of Node takes a response that breaks off for
	// complete.
	b.WriteString("\r\nTransfer-Encoding: chunked\r\n\r\n")
	return b.Bytes()
}
