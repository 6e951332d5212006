package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"example.com/tidings/internal/fanout"
)

// A fan serves the streams of connections that were taken over. Nil is none.
type fan struct {
	hub   *Hub
	group *fanout.Group
	feeds []*feed
	pool  *pool
	off   atomic.Bool // the listener's connections cannot be taken over after all
}

func newFan(h *Hub) (*fan, error) {
	fan := &fan{hub: h, pool: newPool()}
	var err error
	fan.group, err = fanout.New(fanout.Options{
		KeepAlive:    h.opts.KeepAlive,
		WriteTimeout: h.opts.WriteTimeout,
		Feed: func(s *fanout.Shard) fanout.Feed {
			f := newFeed(fan, s)
			fan.feeds = append(fan.feeds, f)
			return f
		},
	})
	if err != nil {
		return nil, fmt.Errorf("hub: connections cannot be taken over: %w", err)
	}
	return fan, nil
}

// extended tells of new records, in their order. Callers hold the hub's mu.
func (fan *fan) extended(entries []*entry) {
	if fan == nil || len(entries) == 0 {
		return
	}
	for _, f := range fan.feeds {
		f.extended(entries)
	}
}

// renewed tells of a view that was made anew. Callers hold the hub's mu.
func (fan *fan) renewed(v *view) {
	if fan == nil {
		return
	}
	for _, f := range fan.feeds {
		f.renewed(v)
	}
}

// drain has each stream end when it has what was published.
func (fan *fan) drain() {
	if fan != nil {
		fan.group.Drain()
	}
}

// close cuts the streams that do not end, and returns when nothing of the fan is left.
func (fan *fan) close() {
	if fan == nil {
		return
	}
	fan.group.Drain()
	timer := time.NewTimer(drainWait)
	defer timer.Stop()
	fan.group.Drained(timer.C)
	if err := fan.group.Close(); err != nil {
		fan.hub.opts.Logger.Warn("hub: closing", "error", err)
	}
	fan.pool.done.Wait()
}

func (fan *fan) len() int {
	if fan == nil {
		return 0
	}
	return fan.group.Len()
}

func (fan *fan) subscribersOf(topic string) (n int) {
	if fan == nil {
		return 0
	}
	for _, f := range fan.feeds {
		counted := make(chan int, 1)
		if f.shard.Do(func() { counted <- f.subscribersOf(topic) }) {
			n += <-counted
		}
	}
	return n
}

func (fan *fan) stats() []ShardStats {
	if fan == nil {
		return nil
	}
	all := fan.group.Stats()
	shards := make([]ShardStats, len(all))
	for i, s := range all {
		shards[i] = ShardStats{
			Streams: s.Streams, Stalled: s.Stalled, Away: s.Away,
			Deliveries: s.Deliveries, Writes: s.Writes, Short: s.Short, Bytes: s.Bytes,
			Ends: map[string]uint64{}, begun: s.Opened,
		}
		for reason, n := range s.Ends {
			shards[i].Ends[fanout.Reason(reason).String()] = n
		}
	}
	return shards
}

// logEnd takes note of a stream's end.
func (fan *fan) logEnd(s *fanout.Shard, slot uint32, reason fanout.Reason) {
	if logger := fan.hub.opts.Logger; logger.Enabled(context.Background(), slog.LevelDebug) {
		logger.Debug("hub: a stream has ended", "path", PathTakenOver, "stream", s.Name(slot).String(), "reason", reason.String())
	}
}

// takeable reports whether the connection of a request is one that can be taken over:
// plain TCP, whose client has sent no more than the request.
func (fan *fan) takeable(r *http.Request) bool {
	if fan == nil || fan.off.Load() || r.Method != http.MethodGet ||
		r.ProtoMajor != 1 || r.ProtoMinor != 1 || r.TLS != nil || r.ContentLength != 0 {
		return false
	}
	_, isTCP := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return isTCP
}

// takeOver has a stream served without net/http, if that is possible. Once it is taken
// the response is nobody else's.
func (h *Hub) takeOver(w http.ResponseWriter, r *http.Request, c *cursor, place *place, sub Subscription) (taken bool, err error) {
	if !h.fan.takeable(r) {
		return false, nil
	}
	shard := h.fan.group.Take()
	if shard == nil {
		place.leave()
		h.refuse(w, r, sub, ErrUnavailable)
		return true, ErrUnavailable
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // a wrapper hides it
		shard.Yield()
		return false, nil
	}
	err = h.adopt(conn, w.Header(), r, shard, c, sub)
	if err != nil {
		shard.Yield()
		place.leave()
		conn.Close()
	}
	return true, err
}

// adopt gives a connection to a shard. With an error the connection is to be closed.
func (h *Hub) adopt(conn net.Conn, header http.Header, r *http.Request, shard *fanout.Shard, c *cursor, sub Subscription) error {
	opening := append(head(header), chunk(h.openEvent(c, sub))...)
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		// Its listener wraps connections. With the position in tidings.open an
		// EventSource comes back and misses nothing.
		if !h.fan.off.Swap(true) {
			h.opts.Logger.Warn("hub: connections are not taken over any more: they are not plain TCP", "type", fmt.Sprintf("%T", conn))
		}
		h.limitWrite(conn)
		_, err := conn.Write(append(opening, "0\r\n\r\n"...))
		return errors.Join(err, fmt.Errorf("hub: a %T cannot be taken over", conn))
	}
	fd, err := fanout.Detach(tcp)
	if err != nil {
		h.opts.Logger.Warn("hub: a stream could not begin", "error", err)
		answer := &bufferedResponse{header: http.Header{}}
		h.refuse(answer, r, sub, ErrUnavailable)
		h.limitWrite(conn)
		conn.Write(answer.bytes())
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	f := shard.Feed().(*feed)
	remote := ""
	if h.opts.Logger.Enabled(r.Context(), slog.LevelDebug) {
		remote = r.RemoteAddr
	}
	if !shard.Do(func() { f.open(fd, c, sub, opening, remote) }) {
		fanout.Close(fd)
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

// open makes a descriptor a stream.
func (f *feed) open(fd int, c *cursor, sub Subscription, opening []byte, remote string) {
	f.Advance()
	set := f.setOf(c.filters)
	slot, ok := f.shard.Open(fd, set, uint8(sub.Format), uint8(c.lag))
	if !ok {
		if set.Len() == 0 {
			f.shard.Drop(set)
		}
		f.hub.mu.Lock()
		f.hub.subscribers--
		f.hub.mu.Unlock()
		return
	}
	if remote != "" {
		f.hub.opts.Logger.Debug("hub: a stream begins", "path", PathTakenOver, "stream", f.shard.Name(slot).String(), "remote", remote, "topics", sub.Topics)
	}
	told := c.place().Seq
	if c.era != f.era || !c.isInWindow() {
		f.send(slot, &errand{c: c, told: told})
	}
	f.shard.Send(slot, [][]byte{opening}, told)
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
