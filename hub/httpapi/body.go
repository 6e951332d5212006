package httpapi

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"

	"example.com/tidings/internal/problem"
)

// bodySize is what a buffer for a body begins with at most, whatever length the
// client announces, and the size up to which it is used again.
const bodySize = 64 << 10

// bodies holds buffers for bodies. What is in them is copied out.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

// readBody hands the body of a request to use, which must not keep it, unless it
// is refused: where it is larger than limit, with tooLarge.
func readBody(w http.ResponseWriter, r *http.Request, limit int, tooLarge func() *problem.Problem, use func([]byte) *problem.Problem) *problem.Problem {
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
	// One byte more than is announced, so that the end is met without growing.
	if want := min(max(int(r.ContentLength)+1, 512), bodySize); cap(b) < want {
		b = make([]byte, 0, want)
	}
	body := r.Body
	if r.ContentLength < 0 {
		body = http.MaxBytesReader(w, body, int64(limit))
	}
	for {
		n, err := body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		*buf = b
		switch {
		case err == io.EOF:
			return use(b)
		case err != nil:
			return unreadable(err, tooLarge)
		case len(b) == cap(b):
			b = append(b, 0)[:len(b)]
		}
	}
}

// unreadable returns the problem of a body that could not be read to its end.
// net/http closes the connection: where the next request begins is not known.
func unreadable(err error, tooLarge func() *problem.Problem) *problem.Problem {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return problem.RequestTimeout.With("The body did not arrive in time. Send it again, faster.")
	}
	return problem.IncompleteBody.With("The body could not be read to its end. Send all of it.")
}
