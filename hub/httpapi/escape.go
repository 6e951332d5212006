package httpapi

import (
	"unicode/utf8"
)

// mostEscaped is how many bytes appendEscaped makes of one, at most.
const mostEscaped = 6

// appendEscaped appends a text as it stands in a JSON string, as encoding/json does without
// SetEscapeHTML. It escapes what RFC 8259, section 7, does not allow, and the line ends of
// JavaScript, U+2028 and U+2029. Bytes that are not UTF-8 become U+FFFD.
func appendEscaped(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	from := 0 // of what is not in b yet
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			i++
			if c >= ' ' && c != '"' && c != '\\' {
				continue
			}
			b = append(append(b, s[from:i-1]...), '\\')
			switch c {
			case '"', '\\':
				b = append(b, c)
			case '\b':
				b = append(b, 'b')
			case '\f':
				b = append(b, 'f')
			case '\n':
				b = append(b, 'n')
			case '\r':
				b = append(b, 'r')
			case '\t':
				b = append(b, 't')
			default:
				b = append(b, 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			from = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(append(b, s[from:i]...), `\ufffd`...)
			from = i + size
		case r == '\u2028', r == '\u2029':
			b = append(append(b, s[from:i]...), `\u202`...)
			b = append(b, hex[r&15])
			from = i + size
		}
		i += size
	}
	return append(b, s[from:]...)
}

// runeEnd returns up to most, and where s may be cut there: not within a character.
func runeEnd(s string, most int) int {
	if len(s) <= most {
		return len(s)
	}
	for n := most; n > most-utf8.UTFMax; n-- {
		if utf8.RuneStart(s[n]) {
			return n
		}
	}
	return most
}
