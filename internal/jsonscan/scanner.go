package jsonscan

import (
	"bytes"
	"iter"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"example.com/tidings/internal/yield"
)

// First returns the first byte of the value that a valid text is.
func First(text []byte) byte {
	r := reader{b: text}
	r.space()
	return text[r.i]
}

// Members returns the fields of a text that is a valid JSON object: the names, which are JSON strings, and the values.
func Members(object []byte, work *yield.Work) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		r := reader{b: object, work: work}
		defer r.count()
		r.space()
		r.i++ // the bracket
		for r.space(); r.b[r.i] != '}'; r.space() {
			if r.b[r.i] == ',' {
				r.i++
				r.space()
			}
			name := r.value()
			r.space()
			r.i++ // the colon
			r.space()
			if !yield(name, r.value()) {
				return
			}
		}
	}
}

// value returns the value at which the reader is, and passes over it.
func (r *reader) value() []byte {
	begin, depth := r.i, 0
	for r.i < len(r.b) {
		switch b := r.b[r.i]; {
		case b == '"':
			r.str()
		case b == '{' || b == '[':
			depth++
			r.i++
		case (b == '}' || b == ']') && depth > 0:
			depth--
			r.i++
		case depth == 0 && (b == ',' || b == '}' || b == ']' || isSpace(b)): // after a number or a word
			return r.b[begin:r.i]
		default:
			r.plain()
			continue
		}
		r.pause()
		if depth == 0 {
			break
		}
	}
	return r.b[begin:r.i]
}

// plain passes over what is neither a string nor white space nor a bracket, at least one byte.
func (r *reader) plain() {
	i, end := r.i+1, min(len(r.b), r.i+step)
	for i < end && (r.b[i] > ',' && r.b[i] != '[' && r.b[i] != ']' && r.b[i] != '{' && r.b[i] != '}') {
		i++
	}
	r.i = i
	r.pause()
}

// str passes over a string.
func (r *reader) str() {
	begin := r.i + 1
	for r.i = begin; ; r.i++ {
		r.i += bytes.IndexByte(r.b[r.i:], '"')
		escapes := 0
		for r.i-escapes > begin && r.b[r.i-escapes-1] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			r.i++
			r.pause()
			return
		}
		r.pause()
	}
}

var spaces = [...]byte{' ', '\n', '\t', '\r'}

// Compact returns a valid JSON value without the white space between its tokens.
func Compact(value []byte, work *yield.Work) string {
	if !slices.ContainsFunc(spaces[:], func(c byte) bool { return bytes.IndexByte(value, c) >= 0 }) {
		return string(value)
	}
	r := reader{b: value, work: work}
	defer r.count()
	var compact strings.Builder
	compact.Grow(len(value))
	from := 0 // of what is not in compact yet
	for r.i < len(value) {
		r.pause()
		switch {
		case value[r.i] == '"':
			r.str()
			continue
		case isSpace(value[r.i]):
			compact.Write(value[from:r.i])
			from = r.i + 1
		}
		r.i++
	}
	compact.Write(value[from:])
	return compact.String()
}

// Unquote returns what a valid JSON string says. It also returns whether that is all text: as in encoding/json, half of a
// surrogate pair becomes U+FFFD.
func Unquote(quoted []byte, work *yield.Work) (text string, whole bool) {
	b := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b), true
	}
	r := reader{b: b, work: work}
	defer r.count()
	out, whole := make([]byte, 0, len(b)), true
	for {
		i := bytes.IndexByte(b[r.i:], '\\')
		if i < 0 {
			return string(append(out, b[r.i:]...)), whole
		}
		out = append(out, b[r.i:r.i+i]...)
		r.i += i + 1
		r.pause()
		if b[r.i] != 'u' {
			out = append(out, unescape(b[r.i]))
			r.i++
			continue
		}
		char := hexRune(b[r.i+1:])
		r.i += 5
		if utf16.IsSurrogate(char) {
			second := utf8.RuneError
			if bytes.HasPrefix(b[r.i:], []byte(`\u`)) {
				second = hexRune(b[r.i+2:])
			}
			if char = utf16.DecodeRune(char, second); char == utf8.RuneError {
				whole = false
			} else {
				r.i += 6
			}
		}
		out = utf8.AppendRune(out, char)
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
func hexRune(b []byte) (char rune) {
	for _, c := range b[:4] {
		digit, _ := hexDigit(c)
		char = char<<4 | rune(digit)
	}
	return char
}

func hexDigit(c byte) (digit byte, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// InvalidUTF8 returns the offset of the first byte that is not UTF-8, or -1.
func InvalidUTF8(text []byte, work *yield.Work) int {
	const utf8Step = 16 * step // a byte costs less here
	for begin := 0; begin < len(text); {
		end := min(len(text), begin+utf8Step)
		for end < len(text) && end > begin+utf8Step-utf8.UTFMax && !utf8.RuneStart(text[end]) {
			end--
		}
		if part := text[begin:end]; !utf8.Valid(part) {
			for n := 0; ; {
				r, size := utf8.DecodeRune(part[n:])
				if r == utf8.RuneError && size == 1 {
					return begin + n
				}
				n += size
			}
		}
		if work != nil {
			work.Did(end - begin)
		}
		begin = end
	}
	return -1
}
