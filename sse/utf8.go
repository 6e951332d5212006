package sse

import "unicode/utf8"

const replacement = "\uFFFD"

// appendValid appends s to b. It replaces ill-formed sequences as
// replaceInvalid does.
func appendValid[S string | []byte](b []byte, s S) []byte {
	if valid(s) {
		return append(b, s...)
	}
	return replaceInvalid(b, s)
}

// valid is utf8.Valid for both types.
func valid[S string | []byte](s S) bool {
	switch s := any(s).(type) {
	case string:
		return utf8.ValidString(s)
	case []byte:
		return utf8.Valid(s)
	}
	panic("unreachable")
}

// replaceInvalid appends s to b. It replaces each maximal subpart of an
// ill-formed sequence with U+FFFD, as the standard's "UTF-8 decode" does.
// Package unicode/utf8 would replace each byte.
func replaceInvalid[S string | []byte](b []byte, s S) []byte {
	start := 0
	for i := 0; i < len(s); {
		n, ok := sequence(s[i:])
		if !ok {
			b = append(b, s[start:i]...)
			b = append(b, replacement...)
			start = i + n
		}
		i += n
	}
	return append(b, s[start:]...)
}

// toValidUTF8 returns s as a string. It replaces ill-formed sequences as
// replaceInvalid does.
func toValidUTF8(s []byte) string {
	if utf8.Valid(s) {
		return string(s)
	}
	return string(replaceInvalid(make([]byte, 0, len(s)+2*len(replacement)), s))
}

// sequence looks at the UTF-8 sequence at the start of s. If the sequence is
// well-formed, it returns its length and true. Otherwise it returns the length
// of the maximal subpart and false (Unicode 3.9, table 3-7, and U+FFFD
// substitution of maximal subparts).
func sequence[S string | []byte](s S) (n int, ok bool) {
	c := s[0]
	if c < utf8.RuneSelf {
		return 1, true
	}
	lo, hi := byte(0x80), byte(0xBF)
	switch {
	case c < 0xC2 || c > 0xF4:
		return 1, false
	case c < 0xE0:
		n = 2
	case c < 0xF0:
		n = 3
		switch c {
		case 0xE0:
			lo = 0xA0
		case 0xED:
			hi = 0x9F
		}
	default:
		n = 4
		switch c {
		case 0xF0:
			lo = 0x90
		case 0xF4:
			hi = 0x8F
		}
	}
	for i := 1; i < n; i++ {
		if i >= len(s) || s[i] < lo || s[i] > hi {
			return i, false
		}
		lo, hi = 0x80, 0xBF
	}
	return n, true
}
