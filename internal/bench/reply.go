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

// A reply takes an HTTP/1 response as it comes, in pieces of any size, and gives
// its body in pieces, of which it copies none. The head is net/http's to parse, as
// there is one for each connection; of the body it knows the three forms of RFC
// 9112, section 6.3. The zero value is that of a response that has not begun.
// It is for one goroutine at a time.
type reply struct {
	// response is the head, once it is there; whoever has read it may set it to
	// nil.
	response *http.Response

	head  []byte // what has come of it
	left  uint64 // of the chunk's data, or of the body
	line  int    // bytes of a line of the chunked coding
	digit int    // digits of a chunk's size
	state replyState
}

// A replyState is what the next byte is part of.
type replyState uint8

const (
	inHead        replyState = iota
	inSize                   // the digits of a chunk's size
	inSizeSpace              // the white space after it, before the line's end
	inExtension              // what follows the size after a semicolon
	inSizeEnd                // the LF after the size
	inData                   // a chunk's data
	inDataEnd                // the CR after it
	inDataEndLF              // the LF after that
	inTrailer                // the beginning of a line of the trailer section
	inTrailerLine            // such a line
	inTrailerEnd             // the LF after the section
	inLength                 // a body of a known length
	inRest                   // a body that the connection's end ends
	replied                  // nothing is
)

const (
	maxHead      = 64 << 10
	maxChunkLine = 4096 // with its end, as in net/http
)

// The errors of a response that is none.
var (
	errHeadTooLong = errors.New("the response's head is longer than 64 KiB")
	errChunked     = errors.New("the response's chunked coding is malformed")
)

// next takes bytes from the front of b, at least one, and returns how many and
// what body is in them. Its error is io.EOF once the body is complete, and any
// other if the response is malformed; after an error it is not called again.
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

// end returns what it means that the connection ends here: io.EOF where the body
// is complete with that.
func (r *reply) end() error {
	switch r.state {
	case inRest, replied:
		return io.EOF
	}
	return io.ErrUnexpectedEOF
}

// framing takes one byte of the chunked coding that is not data.
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

// headReaders are reused, as connections come by the thousand.
var headReaders = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

// takeHead takes bytes of the head, and parses it when it is complete. The head of
// an interim response (1xx) is passed over.
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
		return len(b), fmt.Errorf("the response is not one of HTTP: %w", err)
	}
	res.Body = nil // its reader is another's next
	r.head = nil
	n = size - before
	switch {
	case res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols:
		return n, nil
	case res.StatusCode == http.StatusNoContent, res.StatusCode == http.StatusNotModified, res.ContentLength == 0:
		r.state, err = replied, io.EOF
	case len(res.TransferEncoding) > 0: // net/http knows chunked and refuses all others
		r.state = inSize
	case res.ContentLength > 0:
		r.state, r.left = inLength, uint64(res.ContentLength)
	default:
		r.state = inRest
	}
	r.response = res
	return n, err
}

// headSize returns the size of the head that b begins with, its empty line
// included, or -1 where that has not come. What was looked at before is not looked
// at again. Lines may end in LF alone (RFC 9112, section 2.2).
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
