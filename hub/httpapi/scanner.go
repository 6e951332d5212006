package httpapi

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A scanner takes apart one JSON text that is known to be valid. Beside
// encoding/json it allocates nothing, tells names in their exact case, and does
// not hide that one stands twice.
type scanner struct{ rest []byte }

// peek returns the byte at which the scanner is.
func (s *scanner) peek() byte { return s.rest[0] }

// next goes past white space, and one comma or colon.
func (s *scanner) next() {
	s.rest = skipSpace(s.rest)
	if len(s.rest) > 0 && (s.rest[0] == ',' || s.rest[0] == ':') {
		s.rest = skipSpace(s.rest[1:])
	}
}

// enter goes into an object.
func (s *scanner) enter() {
	s.rest = s.rest[1:]
	s.next()
}

// value returns the value at which the scanner is, and goes past it.
func (s *scanner) value() []byte {
	depth, i := 0, 0
	for ; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '"':
			i += stringLen(s.rest[i:]) - 1
		case '{', '[':
			depth++
			continue
		case '}', ']':
			if depth == 0 { // after a number
				return s.take(i)
			}
			depth--
		case ',', ' ', '\t', '\r':
			if depth == 0 {
				return s.take(i)
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			return s.take(i + 1)
		}
	}
	return s.take(i)
}

func (s *scanner) take(n int) []byte {
	value := s.rest[:n]
	s.rest = s.rest[n:]
	return value
}

// stringLen returns the length of the string that b begins with.
func stringLen(b []byte) int {
	for i := 1; ; i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

// compact returns a valid JSON value without the white space between its tokens.
func compact(value []byte) string {
	var b strings.Builder
	from := 0 // of what is not in b yet
	for i := 0; i < len(value); {
		switch value[i] {
		case '"':
			i += stringLen(value[i:])
			continue
		case ' ', '\t', '\r':
			if from == 0 {
				b.Grow(len(value))
			}
			b.Write(value[from:i])
			from = i + 1
		}
		i++
	}
	if from == 0 {
		return string(value)
	}
	b.Write(value[from:])
	return b.String()
}

// unquote returns what a valid JSON string says, or false if that is no text:
// half of a surrogate pair, which encoding/json would replace in silence.
func unquote(quoted []byte) (string, bool) {
	b := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b), true
	}
	text := make([]byte, 0, len(b))
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			return string(append(text, b...)), true
		}
		text = append(text, b[:i]...)
		c := b[i+1]
		if c != 'u' {
			text = append(text, unescape(c))
			b = b[i+2:]
			continue
		}
		r := hexRune(b[i+2:])
		b = b[i+6:]
		if utf16.IsSurrogate(r) {
			if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
				return "", false
			}
			if r = utf16.DecodeRune(r, hexRune(b[2:])); r == utf8.RuneError {
				return "", false
			}
			b = b[6:]
		}
		text = utf8.AppendRune(text, r)
	}
}

// unescape returns what a backslash and c stand for (RFC 8259, section 7).
func unescape(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// hexRune returns the number that b's four hexadecimal digits stand for.
func hexRune(b []byte) rune {
	n, err := strconv.ParseUint(string(b[:4]), 16, 32)
	if err != nil {
		panic(err) // the JSON is valid
	}
	return rune(n)
}
