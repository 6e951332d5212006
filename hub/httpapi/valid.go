package httpapi

import (
	"bytes"
	"encoding/json"
	"strings"
)

// maxPlainDepth is how deeply plain JSON is nested at most.
const maxPlainDepth = 100

// validJSON is json.Valid for one line. It is more than twice as fast for plain JSON, which
// has no escapes like \u00e9, no exponents and no deep nesting.
func validJSON(line []byte) bool {
	rest := skipSpace(skipValue(skipSpace(line), maxPlainDepth))
	return rest != nil && len(rest) == 0 || json.Valid(line)
}

// skipValue returns what follows the value that b begins with. Like the functions below, it
// returns nil if b does not begin with that, if that is not plain, and if b is nil.
func skipValue(b []byte, depth int) []byte {
	if len(b) == 0 || depth == 0 {
		return nil
	}
	switch b[0] {
	case '"':
		return skipString(b)
	case '{', '[':
		return skipMembers(skipSpace(b[1:]), b[0], depth-1)
	case 't':
		return skipWord(b, "true")
	case 'f':
		return skipWord(b, "false")
	case 'n':
		return skipWord(b, "null")
	}
	return skipNumber(b)
}

// skipMembers returns what follows the object or array whose opening bracket is before b.
func skipMembers(b []byte, opening byte, depth int) []byte {
	closing := opening + 2 // in ASCII
	if after := skip(b, closing); after != nil {
		return after
	}
	for {
		if opening == '{' {
			b = skipSpace(skip(skipSpace(skipString(b)), ':'))
		}
		b = skipSpace(skipValue(b, depth))
		more := skip(b, ',')
		if more == nil {
			return skip(b, closing)
		}
		b = skipSpace(more)
	}
}

func skipString(b []byte) []byte {
	b = skip(b, '"')
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return b[i+1:]
		case c < ' ':
			return nil
		case c == '\\':
			if i++; i == len(b) || strings.IndexByte(`"\/bfnrt`, b[i]) < 0 {
				return nil
			}
		}
	}
	return nil
}

func skipNumber(b []byte) []byte {
	whole := bytes.TrimPrefix(b, []byte("-"))
	b = skipDigits(whole)
	if len(b) < len(whole)-1 && whole[0] == '0' {
		return nil
	}
	if fraction := skip(b, '.'); fraction != nil {
		return skipDigits(fraction)
	}
	return b
}

func skipDigits(b []byte) []byte {
	n := 0
	for n < len(b) && '0' <= b[n] && b[n] <= '9' {
		n++
	}
	if n == 0 {
		return nil
	}
	return b[n:]
}

func skipWord(b []byte, word string) []byte {
	if !bytes.HasPrefix(b, []byte(word)) {
		return nil
	}
	return b[len(word):]
}

func skip(b []byte, c byte) []byte {
	if len(b) == 0 || b[0] != c {
		return nil
	}
	return b[1:]
}

// skipSpace returns b without the white space that it begins with.
func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\r') {
		b = b[1:]
	}
	return b
}
