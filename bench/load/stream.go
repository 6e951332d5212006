//go:build linux

package main

import (
	"bytes"
	"fmt"
)

// A published message begins with @@, the time in 19 digits, in nanoseconds of the
// monotonic clock, and its number in 10 digits.
const (
	timeDigits   = 19
	numberDigits = 10
	markSize     = 2 + timeDigits + numberDigits
)

// appendMessage appends the data of a message of size bytes, at least markSize.
func appendMessage(b []byte, at int64, number uint32, size int) []byte {
	b = fmt.Appendf(b, "@@%0*d%0*d", timeDigits, at, numberDigits, number)
	for range size - markSize {
		b = append(b, 'x')
	}
	return b
}

// The parts of an answer, in their order.
const (
	inHeader = iota
	inChunkSize
	inChunk
	afterChunk
	atEnd
	notChunked
)

// A stream parses the answer to a subscription and finds its messages, however the
// network splits it. It allocates only for the header. The zero value is a stream
// before its first byte. One goroutine owns it.
type stream struct {
	header []byte // its bytes so far; nil when it is complete
	part   uint8  // the current part
	marked uint8  // how many bytes of a mark were read
	left   int    // bytes left of the chunk; in inChunkSize, its size so far
	value  uint64 // of the digits so far
	at     int64  // the time in the mark
}

// open reports whether the answer's header has arrived.
func (s *stream) open() bool { return s.part != inHeader }

// feed parses b and calls found for each message. It returns an error if the answer
// is no stream. After an error the stream cannot be used.
func (s *stream) feed(b []byte, found func(at int64, number uint32)) error {
	for len(b) > 0 {
		switch s.part {
		case inHeader:
			seen := len(s.header)
			s.header = append(s.header, b...)
			end := bytes.Index(s.header, []byte("\r\n\r\n"))
			if end < 0 {
				return nil
			}
			header := s.header[:end]
			if !bytes.HasPrefix(header, []byte("HTTP/1.1 200 ")) {
				line, _, _ := bytes.Cut(header, []byte("\r\n"))
				return fmt.Errorf("a subscription was answered with %q", line)
			}
			s.part = notChunked
			if bytes.Contains(bytes.ToLower(header), []byte("\r\ntransfer-encoding: chunked")) {
				s.part = inChunkSize
			}
			b = b[end+4-seen:]
			s.header = nil
		case inChunkSize:
			c := b[0]
			b = b[1:]
			switch {
			case '0' <= c && c <= '9':
				s.left = s.left<<4 | int(c-'0')
			case 'a' <= c|0x20 && c|0x20 <= 'f':
				s.left = s.left<<4 | int(c|0x20-'a'+10)
			case c == '\n' && s.left == 0:
				s.part = atEnd
			case c == '\n':
				s.part = inChunk
			}
		case inChunk:
			n := min(s.left, len(b))
			s.scan(b[:n], found)
			b = b[n:]
			if s.left -= n; s.left == 0 {
				s.part = afterChunk
			}
		case afterChunk:
			if b[0] == '\n' {
				s.part = inChunkSize
			}
			b = b[1:]
		case notChunked:
			s.scan(b, found)
			return nil
		case atEnd:
			return nil
		}
	}
	return nil
}

// scan finds the marks in the stream's data.
func (s *stream) scan(b []byte, found func(at int64, number uint32)) {
	for len(b) > 0 {
		if s.marked == 0 {
			i := bytes.IndexByte(b, '@')
			if i < 0 {
				return
			}
			s.marked = 1
			b = b[i+1:]
			continue
		}
		c := b[0]
		switch {
		case s.marked == 1 && c == '@':
			s.value = 0
			s.marked++
		case s.marked > 1 && '0' <= c && c <= '9':
			s.value = s.value*10 + uint64(c-'0')
			s.marked++
		default:
			s.marked = 0
			continue // with the same byte: it may begin a mark
		}
		switch s.marked {
		case 2 + timeDigits:
			s.at, s.value = int64(s.value), 0
		case markSize:
			s.marked = 0
			found(s.at, uint32(s.value))
		}
		b = b[1:]
	}
}
