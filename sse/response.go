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

// overdue is how long a sequence may run on after its request has ended before
// a warning is logged.
const overdue = 5 * time.Second

// past is a deadline at which nothing can be written or read any more.
var past = time.Unix(1, 0)

// pieceSize is how much is written under one deadline.
const pieceSize = 256 << 10

// maxKept is the largest buffer that a stream keeps from one event to the next.
const maxKept = 64 << 10

// A response is an event stream while it is written. The handler's goroutine
// writes the events, a timer's goroutine the keep-alives; mu keeps them apart,
// a whole event or keep-alive at a time.
type response struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	inner   http.ResponseWriter // what w wraps at last, or w itself
	wrapped bool                // inner is not w
	plain   flushWriter         // w where an event takes a Write and a Flush, and nothing else; or nil
	r       *http.Request
	ctx     context.Context
	opts    *ServeOptions

	buf       []byte      // of the handler's goroutine: the event that is written
	unwatch   func() bool // ends the watch over ctx
	keepAlive []byte

	mu          mutex
	closed      bool      // nothing is written any more
	finished    bool      // the sequence has ended
	err         error     // of the first write that failed: nothing is written after it
	last        time.Time // when something was last written
	timer       *time.Timer
	beatPanic   any         // what a keep-alive panicked with
	warning     *time.Timer // started when the request ends before the sequence
	noDeadlines bool        // w does not support them
	deadline    time.Time   // the last one set
	keepsIt     bool        // it need not be cleared between writes
}

// A flushWriter is what net/http hands a handler.
type flushWriter interface {
	http.ResponseWriter
	FlushError() error
}

// A mutex is held over writes, which may wait. It is a channel because a test's
// bubble (testing/synctest) lets time go on while a goroutine waits for a
// channel, and not while it waits for a sync.Mutex.
type mutex chan struct{}

func (m mutex) lock()   { m <- struct{}{} }
func (m mutex) unlock() { <-m }

// A WriteError is the result of [Serve] when the client could not be written
// to: it has left, or has taken nothing for [ServeOptions.WriteTimeout]. Where
// the request's context is done too, Err also wraps the cause of that.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return "sse: write: " + e.Err.Error() }
func (e *WriteError) Unwrap() error { return e.Err }

// prepare sets the headers. Where a stream is impossible it answers with a 500
// and returns why.
func prepare(w http.ResponseWriter, r *http.Request, opts *ServeOptions) (*response, error) {
	s := &response{
		w: w, rc: http.NewResponseController(w),
		r: r, ctx: r.Context(), opts: opts, mu: make(mutex, 1),
	}
	s.inner, s.wrapped = innermost(w)
	// Over plain HTTP/1 a deadline that passes while nothing is written does no
	// harm. It resets a stream of HTTP/2, and a connection of TLS may write by
	// itself.
	s.keepsIt = r.ProtoMajor == 1 && r.TLS == nil && s.ctx.Value(http.ServerContextKey) != nil
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
	h.Del("Transfer-Encoding") // "identity" would be no framing at all, and no end to miss
	setDefault(h, "Cache-Control", "no-cache")
	setDefault(h, "X-Accel-Buffering", "no")
	return s, nil
}

// commit sends the headers, by a flush. A writer which finds only now that it
// cannot do that still gets a real 500, since WriteHeader is not called; only
// wrappers around one that surely can are told, for what they do before the
// headers go out: a Content-Encoding, a session's cookie.
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

func setDefault(h http.Header, key, value string) {
	if h.Get(key) == "" {
		h.Set(key, value)
	}
}

// innermost follows Unwrap, as http.ResponseController does, and reports whether
// there was any.
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

// watch begins the keep-alives, and the watch over a sequence that runs on
// after its request has ended.
func (s *response) watch(sequence any, open opener) {
	s.mu.lock()
	defer s.mu.unlock()
	if s.opts.KeepAlive > 0 {
		s.timer = time.AfterFunc(s.opts.KeepAlive, s.beat)
	}
	s.unwatch = context.AfterFunc(s.ctx, func() {
		s.mu.lock()
		defer s.mu.unlock()
		if !s.finished {
			s.warning = time.AfterFunc(overdue, func() { s.warn(sequence, open) })
		}
	})
}

// finish ends the stream. Nothing is written after it but what net/http ends a
// response with.
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
		// net/http clears it before the next request on the connection.
		s.setWriteDeadline(time.Now().Add(s.opts.WriteTimeout))
	}
	if s.beatPanic != nil && how != panicked {
		panic(s.beatPanic)
	}
}

// abort ends the stream before its sequence has ended: nothing is written any
// more, and the request's context is done.
func (s *response) abort() {
	s.mu.lock()
	defer s.mu.unlock()
	s.closed = true
	s.cutOff()
}

// cutOff lets nothing be written or read any more. For net/http that ends the
// request's context: over HTTP/2 the write deadline does, which resets the
// stream, over HTTP/1 the read deadline, as if the client had left.
func (s *response) cutOff() {
	s.rc.SetWriteDeadline(past)
	s.rc.SetReadDeadline(past)
}

// breakOff sees to it that the response does not end as a complete one does.
func (s *response) breakOff(how outcome) {
	// With a deadline in the past net/http cannot write the last chunk of
	// HTTP/1.1, and resets a stream of HTTP/2.
	if !errors.Is(s.rc.SetWriteDeadline(past), http.ErrNotSupported) {
		return
	}
	if s.r.ProtoMajor == 1 { // HTTP/2 has no Hijack, and a wrapper may panic over that
		if conn, _, err := s.rc.Hijack(); err == nil {
			conn.Close()
			return
		}
	}
	// The last resort, where there is a server, and a client that has not just
	// left. Unlike from a panic with http.ErrAbortHandler no middleware can
	// recover from it.
	left := s.err != nil && s.ctx.Err() != nil
	if how != panicked && s.beatPanic == nil && !left && s.ctx.Value(http.ServerContextKey) != nil {
		runtime.Goexit()
	}
}

// encode returns ev in its wire form, valid until the next call.
func (s *response) encode(ev Event) ([]byte, error) {
	b, err := ev.AppendText(s.buf[:0])
	s.buf = b
	if cap(b) > maxKept {
		s.buf = nil
	}
	return b, err
}

// write writes one event whole.
func (s *response) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if s.plain != nil && s.err == nil { // only this goroutine writes, and no time is measured
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

// fail keeps the error of a write, if there is one.
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

// failure returns the error of the write that failed, if one has.
func (s *response) failure() error {
	s.mu.lock()
	defer s.mu.unlock()
	return s.err
}

// beat is called, on a goroutine of its own, when the keep-alive may be due.
func (s *response) beat() {
	s.mu.lock()
	defer s.mu.unlock()
	if s.closed || s.ctx.Err() != nil {
		return
	}
	if idle := time.Since(s.last); idle < s.opts.KeepAlive {
		s.timer.Reset(s.opts.KeepAlive - idle) // an event has restarted it
		return
	}
	defer func() {
		// A panic of w here would end the process: it is raised again on the
		// handler's goroutine, where net/http expects it.
		if s.beatPanic = recover(); s.beatPanic != nil {
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

// flush writes b, and all that wrappers of w hold, to the client, under a
// deadline for each piece. Callers hold mu.
func (s *response) flush(b []byte) error {
	if s.err != nil {
		return s.err
	}
	if s.opts.WriteTimeout < 0 && b == nil {
		s.setWriteDeadline(time.Time{}) // that of http.Server.WriteTimeout
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
	if s.opts.WriteTimeout > 0 && !s.keepsIt {
		s.setWriteDeadline(time.Time{})
	}
	return nil
}

func (s *response) flushPiece(b []byte) error {
	s.last = time.Now()
	// Setting a deadline costs as much as all else that Serve does for an
	// event: one that is still seven eighths of the timeout away will do.
	timeout := s.opts.WriteTimeout
	if timeout > 0 && (!s.keepsIt || s.deadline.Sub(s.last) < timeout-timeout/8) {
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
		// A wrapper on the way may flush what it wraps only if that can itself,
		// and not look through that one's Unwrap.
		return http.NewResponseController(s.inner).Flush()
	}
	return nil
}

// setWriteDeadline sets the deadline where w supports one. An error besides is
// that of a connection which the next write finds broken.
func (s *response) setWriteDeadline(t time.Time) {
	if !s.noDeadlines {
		s.noDeadlines = errors.Is(s.rc.SetWriteDeadline(t), http.ErrNotSupported)
	}
}

// warn logs that the sequence has not returned though its request has ended.
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

// function returns the name of a function and where it begins, as attributes
// of a log record.
func function(nameKey, lineKey string, f any) []any {
	fn := runtime.FuncForPC(reflect.ValueOf(f).Pointer())
	file, line := fn.FileLine(fn.Entry())
	return []any{nameKey, fn.Name(), lineKey, fmt.Sprintf("%s:%d", file, line)}
}
