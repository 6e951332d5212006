package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// A reply parses an HTTP/1 response that arrives in pieces of any size. It returns
// the body in pieces, without copying. net/http parses the head, of which each
// connection has only one. reply itself parses the three forms of a body in RFC
// 9112, section 6.3. The zero value is ready for a response. It is for one
// goroutine at a time.
type reply struct {
	// response is the head, once it has arrived. The caller may set it to nil
	// after reading it.
	response *http.Response

	head  []byte // its bytes so far
	left  uint64 // bytes left of the chunk or the body
	line  int    // bytes of the current line of the chunked coding
	digit int    // digits of the current chunk's size
	state replyState
}

// A replyState says which part of the response the next byte belongs to.
type replyState uint8

const (
	inHead        replyState = iota
	inSize                   // the digits of a chunk's size
	inSizeSpace              // white space between the size and the line's end
	inExtension              // the extensions, after a semicolon
	inSizeEnd                // the LF after the size
	inData                   // a chunk's data
	inDataEnd                // the CR after the data
	inDataEndLF              // the LF after that CR
	inTrailer                // the first byte of a line of the trailer section
	inTrailerLine            // the rest of such a line
	inTrailerEnd             // the LF after the section
	inLength                 // a body of a known length
	inRest                   // a body that ends with the connection
	replied                  // the response is complete
)

const (
	maxHead      = 64 << 10
	maxChunkLine = 4096 // with the line end, as in net/http
)

// The errors of a malformed response.
var (
	errHeadTooLong = errors.New("the response's head is longer than 64 KiB")
	errChunked     = errors.New("the response's chunked coding is malformed")
)

// next takes n bytes from the front of b, at least one, and returns the part of the
// body in them. Its error is io.EOF when the body is complete. Any other error means
// a malformed response. It must not be called again after an error.
func (r *reply) next(b []byte) (body []byte, n int, err error) {
	if r.state == inHead {
		n, err = r.takeHead(b)
		return nil, n, err
	}
	for n < len(b) {
		switch r.state {
		case inData, inLength:
			size := int(min(uint64(len(b)-n), r.left))
			body = b[n : n+size]
			n += size
			if r.left -= uint64(size); r.left > 0 {
				return body, n, nil
			}
			if r.state == inLength {
				r.state = replied
				return body, n, io.EOF
			}
			r.state = inDataEnd
			return body, n, nil
		case inRest:
			return b[n:], len(b), nil
		default:
			n++
			if err := r.framing(b[n-1]); err != nil {
				return nil, n, err
			}
		}
	}
	return nil, n, nil
}

// end returns io.EOF if the response is complete when the connection ends here, and
// io.ErrUnexpectedEOF otherwise.
func (r *reply) end() error {
	switch r.state {
	case inRest, replied:
		return io.EOF
	}
	return io.ErrUnexpectedEOF
}

// framing takes a byte of the chunked coding that is not data.
func (r *reply) framing(c byte) error {
	r.line++
	switch r.state {
	case inSize:
		if d := hexValue(c); d >= 0 && r.digit < 16 {
			r.left = r.left<<4 | uint64(d)
			r.digit++
			return nil
		}
		if r.digit == 0 {
			return errChunked
		}
		switch c {
		case ' ', '\t':
			r.state = inSizeSpace
		case ';':
			r.state = inExtension
		case '\r':
			r.state = inSizeEnd
		default:
			return errChunked
		}
	case inSizeSpace:
		switch c {
		case ' ', '\t':
		case '\r':
			r.state = inSizeEnd
		default:
			return errChunked
		}
	case inExtension:
		switch c {
		case '\n':
			return errChunked
		case '\r':
			r.state = inSizeEnd
		}
	case inSizeEnd:
		if c != '\n' {
			return errChunked
		}
		r.state = inData
		if r.left == 0 {
			r.state = inTrailer
		}
		r.line = 0
		return nil
	case inDataEnd:
		if c != '\r' {
			return errChunked
		}
		r.state = inDataEndLF
	case inDataEndLF:
		if c != '\n' {
			return errChunked
		}
		r.state, r.line, r.digit = inSize, 0, 0
		return nil
	case inTrailer:
		switch c {
		case '\r':
			r.state = inTrailerEnd
		case '\n':
			r.state = replied
			return io.EOF
		default:
			r.state = inTrailerLine
		}
	case inTrailerLine:
		if c == '\n' {
			r.state = inTrailer
		}
	case inTrailerEnd:
		if c != '\n' {
			return errChunked
		}
		r.state = replied
		return io.EOF
	}
	if r.line >= maxChunkLine && r.state < inTrailer || r.line > maxHead {
		return errChunked
	}
	return nil
}

// hexValue returns the value of a digit of either case, or -1.
func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// headReaders saves an allocation for each of thousands of connections.
var headReaders = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

// takeHead takes bytes of the head and parses it when it is complete. It ignores the
// head of an interim response (1xx).
func (r *reply) takeHead(b []byte) (n int, err error) {
	before := len(r.head)
	r.head = append(r.head, b[:min(len(b), maxHead+1-before)]...)
	size := headSize(r.head, before)
	if size < 0 {
		if len(r.head) > maxHead {
			return len(b), errHeadTooLong
		}
		return len(b), nil
	}
	br := headReaders.Get().(*bufio.Reader)
	defer headReaders.Put(br)
	br.Reset(bytes.NewReader(r.head[:size]))
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		return len(b), fmt.Errorf("the response is not HTTP: %w", err)
	}
	res.Body = nil // its reader goes back to the pool
	r.head = nil
	n = size - before
	switch {
	case res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols:
		return n, nil
	case res.StatusCode == http.StatusNoContent, res.StatusCode == http.StatusNotModified, res.ContentLength == 0:
		r.state, err = replied, io.EOF
	case len(res.TransferEncoding) > 0: // net/http accepts only chunked
		r.state = inSize
	case res.ContentLength > 0:
		r.state, r.left = inLength, uint64(res.ContentLength)
	default:
		r.state = inRest
	}
	r.response = res
	return n, err
}

// headSize returns the size of the head at the front of b, including its empty line,
// or -1 if that is not in b. It does not search the first bytes again, before of
// them. Lines may end in LF alone (RFC 9112, section 2.2).
func headSize(b []byte, before int) int {
	for i := max(before-3, 0); i < len(b); i++ {
		lf := bytes.IndexByte(b[i:], '\n')
		if lf < 0 {
			return -1
		}
		i += lf
		switch rest := b[i+1:]; {
		case bytes.HasPrefix(rest, []byte("\n")):
			return i + 2
		case bytes.HasPrefix(rest, []byte("\r\n")):
			return i + 3
		}
	}
	return -1
}
