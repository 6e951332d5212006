package hub

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"example.com/tidings/internal/delivery"
)

// takeable reports whether the connection of a request is one that can be taken over:
// plain TCP, whose client has sent no more than the request.
func (e *engine) takeable(r *http.Request) bool {
	if !e.hub.opts.TakeOver || e.wrapped.Load() || r.Method != http.MethodGet ||
		r.ProtoMajor != 1 || r.ProtoMinor != 1 || r.TLS != nil || r.ContentLength != 0 {
		return false
	}
	_, isTCP := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return isTCP
}

// takeOver has a stream served without net/http, if that is possible. Once it is taken
// the response is nobody else's, and the stream keeps its place until it ends.
func (h *Hub) takeOver(w http.ResponseWriter, r *http.Request, c *cursor, place *place, sub Subscription) (taken bool, err error) {
	if !h.engine.takeable(r) {
		return false, nil
	}
	shard := h.engine.group.Take()
	if shard == nil {
		h.refuse(w, r, sub, ErrUnavailable)
		return true, ErrUnavailable
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // a wrapper hides it
		shard.Yield()
		return false, nil
	}
	if err := h.adopt(conn, w.Header(), r, shard, c, sub); err != nil {
		shard.Yield()
		conn.Close()
		return true, err
	}
	place.keep()
	return true, nil
}

// adopt gives a connection to a shard. With an error the connection is to be closed.
func (h *Hub) adopt(conn net.Conn, header http.Header, r *http.Request, shard *delivery.Shard, c *cursor, sub Subscription) error {
	first := h.openFrame(c, sub, head(header))
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		// Its listener wraps connections. With the position in tidings.open an
		// EventSource comes back and misses nothing.
		if !h.engine.wrapped.Swap(true) {
			h.opts.Logger.Warn("hub: connections are not taken over any more: they are not plain TCP", "type", fmt.Sprintf("%T", conn))
		}
		h.limitWrite(conn)
		_, err := conn.Write(append(first.Wire(0), "0\r\n\r\n"...))
		return errors.Join(err, fmt.Errorf("hub: a %T cannot be taken over", conn))
	}
	fd, err := delivery.Detach(tcp)
	if err != nil {
		h.opts.Logger.Warn("hub: a stream could not begin", "error", err)
		answer := &bufferedResponse{header: http.Header{}}
		h.refuse(answer, r, sub, ErrUnavailable)
		h.limitWrite(conn)
		conn.Write(answer.bytes())
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	f := shard.Feed().(*feed)
	o := &opening{cursor: c, sub: sub, remote: h.engine.remoteOf(r), frames: []delivery.Frame{first}}
	if !shard.Do(func() { f.openSocket(fd, o) }) {
		delivery.Close(fd)
		return ErrClosed
	}
	return nil
}

// limitWrite has the next write to a connection end after the write timeout.
func (h *Hub) limitWrite(conn net.Conn) {
	if h.opts.WriteTimeout > 0 {
		conn.SetWriteDeadline(time.Now().Add(h.opts.WriteTimeout))
	}
}

// openSocket makes a descriptor a stream.
func (f *feed) openSocket(fd int, o *opening) {
	if !f.open(o, func(set *delivery.Set, form, tag uint8) (uint32, bool) { return f.shard.Open(fd, set, form, tag) }) {
		f.hub.subscribers.Add(-1)
	}
}

// ours are the fields of a header that are set anew, or that make no sense on a stream.
var ours = map[string]bool{
	"Content-Type": true, "Content-Length": true, "Transfer-Encoding": true, "Trailer": true, "Connection": true, "Date": true,
}

// head returns the status line and the header of a response that is a stream.
func head(header http.Header) []byte {
	b := bytes.NewBuffer(make([]byte, 0, 1024))
	b.WriteString("HTTP/1.1 200 OK\r\n")
	header.WriteSubset(b, ours)
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
