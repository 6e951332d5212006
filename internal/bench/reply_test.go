package bench_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"

	"example.com/tidings/internal/bench"
)

// pieces calls f with b in pieces, whose sizes repeat, until f returns false. A size
// of 0 means one byte.
func pieces(b, sizes []byte, f func([]byte) bool) {
	for i := 0; len(b) > 0; i++ {
		n := len(b)
		if len(sizes) > 0 {
			n = min(n, int(sizes[i%len(sizes)])+1)
		}
		// Each piece is a copy. It is overwritten later, which shows if f keeps it.
		piece := append(make([]byte, 0, n+8), b[:n]...)
		if !f(piece) {
			return
		}
		for j := range piece {
			piece[j] = '~'
		}
		b = b[n:]
	}
}

// read reads a response in pieces.
func read(stream, sizes []byte) (r *bench.Reply, body []byte, err error) {
	r = new(bench.Reply)
	pieces(stream, sizes, func(b []byte) bool {
		for len(b) > 0 && err == nil {
			var piece []byte
			var n int
			piece, n, err = r.Next(b)
			body = append(body, piece...)
			b = b[n:]
		}
		return err == nil
	})
	return r, body, err
}

func TestReply(t *testing.T) {
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, tt := range []struct {
		rule   string
		stream string
		body   string
		err    error // io.EOF: complete; nil: incomplete; else: some error
		end    error // the result of End, if err is nil
	}{
		{"chunks", chunked + "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", "abc0123456789", io.EOF, nil},
		{"chunks go on", chunked + "3\r\nabc\r\n", "abc", nil, io.ErrUnexpectedEOF},
		{"a chunk that is cut", chunked + "5\r\nabc", "abc", nil, io.ErrUnexpectedEOF},
		{"extensions", chunked + "3;a=b;c=\"d\"\r\nabc\r\n0;x\r\n\r\n", "abc", io.EOF, nil},
		{"white space after the size", chunked + "3 \t\r\nabc\r\n0\r\n\r\n", "abc", io.EOF, nil},
		{"trailers", chunked + "1\r\na\r\n0\r\nX: 1\r\nY: 2\r\n\r\n", "a", io.EOF, nil},
		{"no size", chunked + "\r\nabc\r\n", "", errors.ErrUnsupported, nil},
		{"a size that is no number", chunked + "x\r\nabc\r\n", "", errors.ErrUnsupported, nil},
		{"a size that is too large", chunked + "11111111111111111\r\n", "", errors.ErrUnsupported, nil},
		{"a size that ends in LF alone", chunked + "3\nabc\r\n", "", errors.ErrUnsupported, nil},
		{"data that is longer than the size", chunked + "3\r\nabcd\r\n", "abc", errors.ErrUnsupported, nil},
		{"an extension without end", chunked + "3;" + strings.Repeat("x", 5000), "", errors.ErrUnsupported, nil},
		{"a length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", io.EOF, nil},
		{"a length that is not reached", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", "abc", nil, io.ErrUnexpectedEOF},
		{"a length of 0", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", io.EOF, nil},
		{"until the connection ends", "HTTP/1.0 200 OK\r\n\r\nabc", "abc", nil, io.EOF},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", "", io.EOF, nil},
		{"an interim response", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", "a", io.EOF, nil},
		{"lines that end in LF", "HTTP/1.1 200 OK\nContent-Length: 1\n\na", "a", io.EOF, nil},
		{"a head that is cut", "HTTP/1.1 200 OK\r\nContent-Le", "", nil, io.ErrUnexpectedEOF},
		{"no HTTP", "SSH-2.0-OpenSSH\r\n\r\n", "", errors.ErrUnsupported, nil},
		{"a coding that is not known", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "", errors.ErrUnsupported, nil},
		{"a head without end", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 70<<10), "", errors.ErrUnsupported, nil},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			for _, sizes := range []string{"", "\x00", "\x01", "\x00\x06\x02"} {
				r, body, err := read([]byte(tt.stream), []byte(sizes))
				switch {
				case string(body) != tt.body:
					t.Errorf("in pieces of %q: the body is %q, want %q", sizes, body, tt.body)
				case tt.err == io.EOF || tt.err == nil:
					if err != tt.err {
						t.Errorf("in pieces of %q: %v, want %v", sizes, err, tt.err)
					}
				case err == nil || err == io.EOF:
					t.Errorf("in pieces of %q: %v, want an error", sizes, err)
				}
				if tt.err == nil && r.End() != tt.end {
					t.Errorf("in pieces of %q: the end is %v, want %v", sizes, r.End(), tt.end)
				}
			}
		})
	}
}

// A reply and net/http agree on every response, in pieces of any size.
func FuzzReply(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3 ;x\r\nabc\r\nfF\r\n",
		"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
		"HTTP/1.0 200 OK\r\n\r\nabc",
	} {
		f.Add([]byte(s), []byte{0})
		f.Add([]byte(s), []byte{2, 0, 30})
	}
	f.Fuzz(func(t *testing.T, stream, sizes []byte) {
		r, body, err := read(stream, sizes)
		br := bufio.NewReader(bytes.NewReader(stream))
		var res *http.Response
		for {
			var want error
			if res, want = http.ReadResponse(br, nil); want != nil {
				if err == io.EOF || err == nil && r.End() == io.EOF || len(body) > 0 {
					t.Fatalf("%q: a body of %q and %v; to net/http the head is wrong: %v", stream, body, err, want)
				}
				return
			}
			if res.StatusCode >= 200 || res.StatusCode == 101 {
				break
			}
		}
		from, isChunked := io.Reader(res.Body), len(res.TransferEncoding) > 0
		if isChunked { // only the chunks: net/http checks trailers more strictly
			from = httputil.NewChunkedReader(br)
		}
		whole, want := io.ReadAll(from)
		if want != nil && strings.Contains(want.Error(), "too much non-data") {
			return // net/http refuses this against attacks
		}
		if string(body) != string(whole) {
			t.Fatalf("%q: the body is %q, to net/http %q", stream, body, whole)
		}
		complete := err == io.EOF || err == nil && (r.End() == io.EOF || r.InTrailer())
		switch {
		case want == nil && !complete && !isChunked:
			t.Errorf("%q: %v, end %v; to net/http it is complete", stream, err, r.End())
		case want == nil && !complete: // a trailer section may be malformed
			if !strings.Contains(string(stream), "0") {
				t.Errorf("%q: %v", stream, err)
			}
		case want != nil && complete:
			t.Errorf("%q: complete; to net/http: %v", stream, want)
		case want == io.ErrUnexpectedEOF && err != nil:
			// net/http checks a line when it is complete. reply checks each byte.
			if !isChunked {
				t.Errorf("%q: %v; to net/http it is only cut", stream, err)
			}
		}
	})
}
