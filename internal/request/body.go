// Package request reads the parts of HTTP requests that several routes share.
package request

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"

	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/quote"
)

// sizes are those of the buffers that are used again. A body begins with the smallest, whatever
// length the client announces. With one byte more than a small body has, the last Read finds
// the end.
var sizes = [...]int{uncounted, 16 << 10, budget.SmallBody + 1}

// bodies holds buffers of these sizes.
var bodies [len(sizes)]sync.Pool

// A buffer has what has arrived of a body.
type buffer struct {
	b     []byte
	size  int     // the index of its size, or len(sizes)
	whole *[]byte // what the pool gets back, or nil
}

// take takes a buffer of a size from the pool.
func (buf *buffer) take(size int) {
	buf.size = size
	buf.whole, _ = bodies[size].Get().(*[]byte)
	if buf.whole == nil {
		b := make([]byte, 0, sizes[size])
		buf.whole = &b
	}
	buf.b = (*buf.whole)[:0]
}

// release gives the buffer back.
func (buf *buffer) release() {
	if buf.whole != nil {
		bodies[buf.size].Put(buf.whole)
	}
	*buf = buffer{}
}

// grow makes a full buffer larger, for a body of up to most bytes. held is what the request
// holds beside it.
func (buf *buffer) grow(h *Hold, held, most int) error {
	size := min(2*cap(buf.b), most+1)
	next := buf.size + 1
	if next < len(sizes) {
		size = sizes[next]
	}
	if err := h.Grow(held + size - 1); err != nil {
		return err
	}
	old := *buf
	if next < len(sizes) {
		buf.take(next)
	} else {
		*buf = buffer{b: make([]byte, 0, size), size: len(sizes)}
	}
	buf.b = append(buf.b, old.b...)
	old.release()
	return nil
}

// ReadBody calls use with the body of a request, and returns its error. use must not keep
// the bytes. If the body has more than limit bytes, ReadBody returns tooLarge's error instead.
// h holds what has arrived, and goes on to: what use makes of it is no larger.
// r.Body is http.NoBody once everything was read, or nothing more can be.
func ReadBody(w http.ResponseWriter, r *http.Request, h *Hold, limit int, tooLarge func() error, use func([]byte) error) error {
	body, most, err := begin(w, r, h, limit, tooLarge)
	if err != nil {
		return err
	}
	var buf buffer
	buf.take(0)
	defer buf.release()
	defer h.Work.Pause()
	for {
		h.Work.Pause() // it may wait for the client
		n, err := body.Read(buf.b[len(buf.b):cap(buf.b)])
		h.Work.Resume()
		h.Work.Did(readNanos + n)
		buf.b = buf.b[:len(buf.b)+n]
		switch {
		case err == io.EOF:
			r.Body = http.NoBody
			return use(buf.b)
		case err != nil:
			return unreadable(r, err, tooLarge)
		case len(buf.b) == cap(buf.b):
			if err := buf.grow(h, 0, most); err != nil {
				return err
			}
		}
	}
}

// About what it costs to read from a body, and to take a line apart, beside what each byte does.
const (
	readNanos = 500
	lineNanos = 500
)

// ReadLines calls line with each line of a request's body, without its end, as soon as it has
// arrived. line must not keep the bytes. It returns how many bytes its callers hold now of what
// it has made of the lines. Otherwise ReadLines is as ReadBody. After an error of line it reads
// the rest of the body and drops it.
func ReadLines(w http.ResponseWriter, r *http.Request, h *Hold, limit int, tooLarge func() error, line func([]byte) (held int, err error)) error {
	body, most, err := begin(w, r, h, limit, tooLarge)
	if err != nil {
		return err
	}
	var buf buffer
	buf.take(0)
	defer buf.release()
	defer h.Work.Pause()
	held := 0
	var refusal error
	for {
		h.Work.Pause() // it may wait for the client
		n, err := body.Read(buf.b[len(buf.b):cap(buf.b)])
		h.Work.Resume()
		h.Work.Did(readNanos + n)
		begin := len(buf.b)
		buf.b = buf.b[:begin+n]
		rest := buf.b
		full := len(buf.b) == cap(buf.b)
		for refusal == nil {
			i := bytes.IndexByte(rest[begin:], '\n')
			if i < 0 && (err != io.EOF || len(rest) == 0) {
				break
			}
			if i < 0 {
				i = len(rest) - begin
			}
			held, refusal = line(rest[:begin+i])
			h.Work.Did(lineNanos + 3*(begin+i))
			rest, begin = rest[min(len(rest), begin+i+1):], 0
		}
		switch {
		case err == io.EOF:
			r.Body = http.NoBody
			return refusal
		case err != nil:
			return unreadable(r, err, tooLarge)
		case refusal != nil:
			buf.b = buf.b[:0]
			continue
		}
		if err := h.Grow(held + cap(buf.b)); err != nil {
			return err
		}
		buf.b = buf.b[:copy(buf.b, rest)]
		if len(rest) == cap(buf.b) || full && most > budget.SmallBody && buf.size < len(sizes)-1 {
			if err := buf.grow(h, held, most); err != nil {
				return err
			}
		}
	}
}

// begin returns the body to read, and how many bytes it has at most.
func begin(w http.ResponseWriter, r *http.Request, h *Hold, limit int, tooLarge func() error) (body io.Reader, most int, err error) {
	most = limit
	if r.ContentLength >= 0 {
		if r.ContentLength > int64(limit) {
			return nil, 0, tooLarge()
		}
		most = int(r.ContentLength)
		if err := h.fits(most); err != nil {
			return nil, 0, err
		}
	}
	r.Header.Del("Expect") // reading asks for the body: see Refuse
	if r.ContentLength < 0 {
		return http.MaxBytesReader(w, r.Body, int64(limit)), most, nil
	}
	return r.Body, most, nil
}

// unreadable returns the problem of a body that could not be read to its end. net/http
// closes the connection, because nobody knows where the next request begins.
func unreadable(r *http.Request, err error, tooLarge func() error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge()
	}
	r.Body = http.NoBody // the rest does not come
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return problem.RequestTimeout.With("The body did not arrive in time. Send it again, faster.")
	}
	return problem.IncompleteBody.With("The body could not be read to its end. Send all of it.")
}

// CheckEncoding refuses a body with a content coding: all codings that its header lines list
// have to be identity (RFC 9110, section 8.4).
func CheckEncoding(h http.Header) error {
	for _, line := range h["Content-Encoding"] {
		for coding := range strings.SplitSeq(line, ",") {
			coding = strings.Trim(coding, " \t")
			if coding != "" && !strings.EqualFold(coding, "identity") {
				return problem.UnsupportedEncoding.Withf("The body has the Content-Encoding %s. Send it as it is, without one.", quote.Short(coding)).
					Set("Accept-Encoding", "identity") // RFC 9110, section 12.5.3
			}
		}
	}
	return nil
}

// CheckNoBody refuses a GET or HEAD request with a body (RFC 9110, section 9.3.1). A stream
// would wait for the body, or not notice that its client leaves.
func CheckNoBody(r *http.Request) error {
	if r.ContentLength == 0 {
		return nil
	}
	return problem.UnexpectedBody.Withf("A %s request has no body here. Send it without one.", r.Method).
		Set("Connection", "close")
}

// MatchesETag reports whether an If-None-Match header has the given opaque tag, weak or
// strong: they are compared weakly (RFC 9110, section 13.1.2). The tag has no comma.
func MatchesETag(h http.Header, opaque string) bool {
	for _, value := range h["If-None-Match"] {
		for tag := range strings.SplitSeq(value, ",") {
			if tag = strings.Trim(tag, " \t"); tag == "*" || strings.TrimPrefix(tag, "W/") == opaque {
				return true
			}
		}
	}
	return false
}
