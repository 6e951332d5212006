package sse

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"runtime"
	"time"
)

// overdue is how long a sequence may keep running after its request has ended.
// After that time, a warning is logged.
const overdue = 5 * time.Second

// past is a deadline that has already expired. With it, every write and read
// fails.
var past = time.Unix(1, 0)

// pieceSize is the largest number of bytes that is written under one deadline.
const pieceSize = 256 << 10

// maxKept is the largest buffer that a stream keeps between events.
const maxKept = 64 << 10

// A response is an event stream that is being written. The handler's goroutine
// writes the events, and a timer's goroutine writes the keep-alives. mu lets
// only one of them write at a time, a whole event or keep-alive.
type response struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	inner   http.ResponseWriter // the innermost writer that w wraps, or w itself
	wrapped bool                // inner is not w
	plain   flushWriter         // w if an event needs only a Write and a Flush; otherwise nil
	r       *http.Request
	ctx     context.Context
	opts    *ServeOptions

	buf       []byte      // the encoded event, used only by the handler's goroutine
	unwatch   func() bool // stops watching ctx
	keepAlive []byte

	mu             mutex
	closed         bool      // nothing more may be written
	finished       bool      // the sequence has ended
	err            error     // the first write error; nothing is written after it
	last           time.Time // when something was last written
	timer          *time.Timer
	keepAlivePanic any         // the value that a keep-alive panicked with
	warning        *time.Timer // started when the request ends before the sequence
	noDeadlines    bool        // w does not support deadlines
	deadline       time.Time   // the last write deadline that was set
	keepsDeadline  bool        // the deadline need not be cleared between writes
}

// A flushWriter is the kind of writer that net/http passes to a handler.
type flushWriter interface {
	http.ResponseWriter
	FlushError() error
}

// A mutex is held during writes, which may wait. It is a channel because of
// testing/synctest: the clock of a bubble advances while a goroutine waits for
// a channel, but not while it waits for a sync.Mutex.
type mutex chan struct{}

func (m mutex) lock()   { m <- struct{}{} }
func (m mutex) unlock() { <-m }

// A WriteError is the result of [Serve] when a write to the client failed: the
// client has left, or has read nothing for [ServeOptions.WriteTimeout]. If the
// request's context is done too, Err also wraps the cause of the context.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return "sse: write: " + e.Err.Error() }
func (e *WriteError) Unwrap() error { return e.Err }

// prepare sets the headers. If w cannot stream, it answers with a 500 and
// returns the reason.
func prepare(w http.ResponseWriter, r *http.Request, opts *ServeOptions) (*response, error) {
	s := &response{
		w: w, rc: http.NewResponseController(w),
		r: r, ctx: r.Context(), opts: opts, mu: make(mutex, 1),
	}
	s.inner, s.wrapped = innermost(w)
	// Over plain HTTP/1, a deadline that passes between writes does no harm.
	// Over HTTP/2, it resets the stream. A TLS connection may write on its own.
	s.keepsDeadline = r.ProtoMajor == 1 && r.TLS == nil && s.ctx.Value(http.ServerContextKey) != nil
	if opts.KeepAlive < 0 && opts.WriteTimeout < 0 && !s.wrapped {
		s.plain, _ = w.(flushWriter)
	}
	if !canFlush(s.inner) {
		return nil, s.refuseFlush(s.inner, http.ErrNotSupported)
	}
	var err error
	if opts.KeepAliveEvent == (Event{}) {
		s.keepAlive = []byte(":\n")
	} else if s.keepAlive, err = opts.KeepAliveEvent.AppendText(nil); err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return nil, fmt.Errorf("sse: ServeOptions.KeepAliveEvent: %w", err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Del("Content-Length")
	h.Del("Transfer-Encoding") // with "identity" a client could not detect a broken response
	setDefaultHeader(h, "Cache-Control", "no-cache")
	setDefaultHeader(h, "X-Accel-Buffering", "no")
	return s, nil
}

// commit sends the headers with a flush. It does not call WriteHeader, so that
// it can still answer with a real 500 if the flush finds that w cannot flush.
// It calls WriteHeader only for wrappers around a writer that can certainly
// flush. Such wrappers may act before the headers go out, for example to set a
// Content-Encoding or a session cookie.
func (s *response) commit() (outcome, error) {
	s.mu.lock()
	defer s.mu.unlock()
	_, sure := s.inner.(http.Flusher)
	if sure = sure && s.wrapped; sure {
		s.w.WriteHeader(http.StatusOK)
	}
	switch err := s.flush(nil); {
	case err == nil:
		return complete, nil
	case errors.Is(err, http.ErrNotSupported) && !sure:
		s.w.Header().Del("X-Accel-Buffering")
		return refused, s.refuseFlush(s.w, err)
	default:
		return cutShort, err
	}
}

func (s *response) refuseFlush(w http.ResponseWriter, err error) error {
	http.Error(s.w, "Streaming is not possible here: the response cannot be flushed.", http.StatusInternalServerError)
	return fmt.Errorf("sse: %T cannot flush: %w", w, err)
}

// setDefaultHeader sets a header that is not set yet.
func setDefaultHeader(h http.Header, key, value string) {
	if h.Get(key) == "" {
		h.Set(key, value)
	}
}

// innermost follows Unwrap to the innermost writer, as http.ResponseController
// does. wrapped reports whether w has an Unwrap.
func innermost(w http.ResponseWriter) (_ http.ResponseWriter, wrapped bool) {
	for {
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w, wrapped
		}
		w, wrapped = u.Unwrap(), true
	}
}

func canFlush(w http.ResponseWriter) bool {
	switch w.(type) {
	case http.Flusher, interface{ FlushError() error }:
		return true
	}
	return false
}

// watch starts the keep-alives. It also starts the watch for a sequence that
// keeps running after its request has ended.
func (s *response) watch(sequence any, open opener) {
	s.mu.lock()
	defer s.mu.unlock()
	if s.opts.KeepAlive > 0 {
		s.timer = time.AfterFunc(s.opts.KeepAlive, s.sendKeepAlive)
	}
	s.unwatch = context.AfterFunc(s.ctx, func() {
		s.mu.lock()
		defer s.mu.unlock()
		if !s.finished {
			s.warning = time.AfterFunc(overdue, func() { s.warn(sequence, open) })
		}
	})
}

// finish ends the stream. After it, only net/http writes, to end the response.
func (s *response) finish(how outcome) {
	if s.unwatch != nil {
		s.unwatch()
	}
	s.mu.lock()
	defer s.mu.unlock()
	s.closed, s.finished = true, true
	for _, t := range []*time.Timer{s.timer, s.warning} {
		if t != nil {
			t.Stop()
		}
	}
	switch {
	case how == refused:
		if !s.deadline.IsZero() {
			s.setWriteDeadline(time.Time{})
		}
	case how != complete && how != ended || s.err != nil:
		s.breakOff(how)
	case s.opts.WriteTimeout > 0:
		// net/http clears this deadline before the next request on the connection.
		s.setWriteDeadline(time.Now().Add(s.opts.WriteTimeout))
	}
	if s.keepAlivePanic != nil && how != panicked {
		panic(s.keepAlivePanic)
	}
}

// abort ends the stream before its sequence has ended. Nothing more is written,
// and the request's context ends.
func (s *response) abort() {
	s.mu.lock()
	defer s.mu.unlock()
	s.closed = true
	s.cutOff()
}

// cutOff makes all further writes and reads fail. net/http then ends the
// request's context. Over HTTP/2 the write deadline resets the stream. Over
// HTTP/1 the read deadline looks to net/http as if the client had left.
func (s *response) cutOff() {
	s.rc.SetWriteDeadline(past)
	s.rc.SetReadDeadline(past)
}

// breakOff ensures that the response does not look complete to the client.
func (s *response) breakOff(how outcome) {
	// With a deadline in the past, net/http cannot write the last chunk of
	// HTTP/1.1, and it resets a stream of HTTP/2.
	if !errors.Is(s.rc.SetWriteDeadline(past), http.ErrNotSupported) {
		return
	}
	if s.r.ProtoMajor == 1 { // HTTP/2 has no Hijack, and some wrappers panic without it
		if conn, _, err := s.rc.Hijack(); err == nil {
			conn.Close()
			return
		}
	}
	// The last resort is to end the goroutine. Unlike from a panic with
	// http.ErrAbortHandler, no middleware can recover from that. It needs a
	// server, and is not needed if the write failed because the client left.
	left := s.err != nil && s.ctx.Err() != nil
	if how != panicked && s.keepAlivePanic == nil && !left && s.ctx.Value(http.ServerContextKey) != nil {
		runtime.Goexit()
	}
}

// encode returns ev in its wire form. The bytes are valid until the next call.
func (s *response) encode(ev Event) ([]byte, error) {
	b, err := ev.AppendText(s.buf[:0])
	s.buf = b
	if cap(b) > maxKept {
		s.buf = nil
	}
	return b, err
}

// write writes one whole event.
func (s *response) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if s.plain != nil && s.err == nil { // no keep-alives and no timeouts: neither mu nor a clock is needed
		_, err := s.plain.Write(b)
		if err == nil {
			err = s.plain.FlushError()
		}
		return s.fail(err)
	}
	s.mu.lock()
	defer s.mu.unlock()
	return s.flush(b)
}

// fail records the error of a write, if there is one, and returns it as a
// WriteError.
func (s *response) fail(err error) error {
	if err == nil {
		return nil
	}
	if s.ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(s.ctx), err)
	}
	s.err = &WriteError{err}
	return s.err
}

// failure returns the recorded error of a write, or nil.
func (s *response) failure() error {
	s.mu.lock()
	defer s.mu.unlock()
	return s.err
}

// sendKeepAlive runs on the timer's goroutine when a keep-alive may be due.
func (s *response) sendKeepAlive() {
	s.mu.lock()
	defer s.mu.unlock()
	if s.closed || s.ctx.Err() != nil {
		return
	}
	if idle := time.Since(s.last); idle < s.opts.KeepAlive {
		s.timer.Reset(s.opts.KeepAlive - idle) // an event was written meanwhile
		return
	}
	defer func() {
		// A panic of w on this goroutine would end the process. finish raises
		// it again on the handler's goroutine, where net/http expects it.
		if s.keepAlivePanic = recover(); s.keepAlivePanic != nil {
			s.err = &WriteError{errors.New("a keep-alive panicked")}
		}
		if s.err != nil {
			s.cutOff()
		}
	}()
	if s.flush(s.keepAlive) == nil {
		s.timer.Reset(s.opts.KeepAlive)
	}
}

// flush writes b to the client, and everything that wrappers of w have
// buffered. Each piece of b has its own deadline. The caller must hold mu.
func (s *response) flush(b []byte) error {
	if s.err != nil {
		return s.err
	}
	if s.opts.WriteTimeout < 0 && b == nil {
		s.setWriteDeadline(time.Time{}) // clear the deadline of http.Server.WriteTimeout
	}
	for {
		piece := b[:min(len(b), pieceSize)]
		b = b[len(piece):]
		if err := s.fail(s.flushPiece(piece)); err != nil {
			return err
		}
		if len(b) == 0 {
			break
		}
	}
	if s.opts.WriteTimeout > 0 && !s.keepsDeadline {
		s.setWriteDeadline(time.Time{})
	}
	return nil
}

func (s *response) flushPiece(b []byte) error {
	s.last = time.Now()
	// Setting a deadline costs as much as everything else that Serve does for
	// an event. A deadline is therefore kept while at least seven eighths of
	// the timeout remain.
	timeout := s.opts.WriteTimeout
	if timeout > 0 && (!s.keepsDeadline || s.deadline.Sub(s.last) < timeout-timeout/8) {
		s.deadline = s.last.Add(timeout)
		s.setWriteDeadline(s.deadline)
	}
	if len(b) > 0 {
		if _, err := s.w.Write(b); err != nil {
			return err
		}
	}
	if err := s.rc.Flush(); err != nil {
		return err
	}
	if len(b) > 0 && s.wrapped {
		// A wrapper may flush only a writer that itself has Flush, and may not
		// follow the Unwrap of that writer. So flush the innermost writer too.
		return http.NewResponseController(s.inner).Flush()
	}
	return nil
}

// setWriteDeadline sets the deadline if w supports deadlines. Any other error
// means that the connection is broken, and the next write fails.
func (s *response) setWriteDeadline(t time.Time) {
	if !s.noDeadlines {
		s.noDeadlines = errors.Is(s.rc.SetWriteDeadline(t), http.ErrNotSupported)
	}
}

// warn logs that the sequence is still running after its request has ended.
func (s *response) warn(sequence any, open opener) {
	s.mu.lock()
	finished := s.finished
	s.mu.unlock()
	if finished {
		return
	}
	attrs := []any{"method", s.r.Method, "path", s.r.URL.Path, "after", overdue}
	attrs = append(attrs, function("function", "line", sequence)...)
	if open != nil {
		attrs = append(attrs, function("opened_by", "opened_at", open)...)
	}
	s.opts.Logger.WarnContext(s.ctx,
		"sse: a sequence still runs though its request has ended; it must return when the request's context is done",
		attrs...)
}

// function returns the name of a function and the line where it begins, as
// attributes of a log record.
func function(nameKey, lineKey string, f any) []any {
	fn := runtime.FuncForPC(reflect.ValueOf(f).Pointer())
	file, line := fn.FileLine(fn.Entry())
	return []any{nameKey, fn.Name(), lineKey, fmt.Sprintf("%s:%d", file, line)}
}
