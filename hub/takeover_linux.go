package hub

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/delivery"
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
	h, opening := s.hub, s.opening(r, head(header))
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		// The listener wraps connections. With the position in tidings.open an
		// EventSource reconnects and misses nothing.
		if !h.notTCP.Swap(true) {
			h.opts.Logger.Warn("hub: connections are not taken over any more, because they are not plain TCP", "type", fmt.Sprintf("%T", conn))
		}
		h.limitWrite(conn)
		_, err := conn.Write(append(opening.First[0].Wire(0), "0\r\n\r\n"...))
		return errors.Join(err, fmt.Errorf("hub: a %T cannot be taken over", conn))
	}
	fd, err := delivery.Detach(tcp)
	if err != nil {
		h.opts.Logger.Warn("hub: a stream could not begin", "error", err)
		answer := &bufferedResponse{header: http.Header{}}
		h.ServeUnavailable(answer, r)
		h.limitWrite(conn)
		conn.Write(answer.bytes())
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if !h.streams.OpenSocket(s.shard, fd, &opening) {
		delivery.Close(fd)
		return eventlog.ErrClosed
	}
	return nil
}

// limitWrite bounds the next write to a connection by the write timeout.
func (h *Hub) limitWrite(conn net.Conn) {
	if h.opts.WriteTimeout > 0 {
		conn.SetWriteDeadline(time.Now().Add(h.opts.WriteTimeout))
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
	// Nobody reads another request (RFC 9112, section 9.6).
	b.WriteString("\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
	return b.Bytes()
}

// A bufferedResponse is a short one on a connection that is no longer net/http's.
type bufferedResponse struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *bufferedResponse) Header() http.Header { return b.header }

func (b *bufferedResponse) WriteHeader(status int) {
	if b.status == 0 {
		b.status = status
	}
}

func (b *bufferedResponse) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	return b.body.Write(p)
}

func (b *bufferedResponse) bytes() []byte {
	b.WriteHeader(http.StatusOK)
	b.header.Set("Connection", "close")
	b.header.Set("Content-Length", strconv.Itoa(b.body.Len()))
	var out bytes.Buffer
	fmt.Fprintf(&out, "HTTP/1.1 %d %s\r\n", b.status, http.StatusText(b.status))
	b.header.Write(&out)
	out.WriteString("\r\n")
	b.body.WriteTo(&out)
	return out.Bytes()
}
