// Package request reads the parts of HTTP requests that several routes share.
package request

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"

	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/quote"
)

// bodySize bounds the first size of a buffer for a body, whatever length the client
// announces. A buffer that has grown beyond it is not used again.
const bodySize = 64 << 10

// bodies holds buffers for bodies.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

// ReadBody calls use with the body of a request, and returns its error. use must not keep
// the bytes. If the body has more than limit bytes, ReadBody returns tooLarge's error instead.
// r.Body is http.NoBody once everything was read, or nothing more can be.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int, tooLarge func() error, use func([]byte) error) error {
	if r.ContentLength > int64(limit) {
		return tooLarge()
	}
	buf := bodies.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= bodySize {
			bodies.Put(buf)
		}
	}()
	b := (*buf)[:0]
	// With one byte more than announced, the last Read finds the end without growing b.
	if want := min(max(int(r.ContentLength)+1, 512), bodySize); cap(b) < want {
		b = make([]byte, 0, want)
	}
	body := r.Body
	r.Header.Del("Expect") // reading asks for the body: see Refuse
	if r.ContentLength < 0 {
		body = http.MaxBytesReader(w, body, int64(limit))
	}
	for {
		n, err := body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		*buf = b
		switch {
		case err == io.EOF:
			r.Body = http.NoBody
			return use(b)
		case err != nil:
			if _, limited := errors.AsType[*http.MaxBytesError](err); !limited {
				r.Body = http.NoBody // the rest does not come
			}
			return unreadable(err, tooLarge)
		case len(b) == cap(b):
			b = append(b, 0)[:len(b)]
		}
	}
}

// unreadable returns the problem of a body that could not be read to its end. net/http
// closes the connection, because nobody knows where the next request begins.
func unreadable(err error, tooLarge func() error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return problem.RequestTimeout.With("The body did not arrive in time. Send it again, faster.")
	}
	return problem.IncompleteBody.With("The body could not be read to its end. Send all of it.")
}

// CheckEncoding refuses a body that is compressed.
func CheckEncoding(h http.Header) error {
	if coding := strings.Join(h["Content-Encoding"], ", "); coding != "" && !strings.EqualFold(coding, "identity") {
		return problem.UnsupportedEncoding.Withf("The body has the Content-Encoding %s. Send it as it is, without one.", quote.Short(coding)).
			Set("Accept-Encoding", "identity") // RFC 9110, section 12.5.3
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
