package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// isTerminal reports whether a person reads what is written, as far as that can be told.
func isTerminal(w io.Writer) bool {
	if l, ok := w.(*lossyWriter); ok {
		w = l.w
	}
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// colored reports whether a terminal is written to in colors: https://no-color.org.
func colored(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// dangerous reports whether a character changes more of a terminal than one cell: control
// characters, and those that change the direction of the text around them or stand for a line end.
// Strangers choose what they publish.
func dangerous(c rune) bool {
	switch {
	case unicode.IsControl(c), c == '\u2028', c == '\u2029', c == '\u061c', c == '\u200e', c == '\u200f':
		return true
	}
	return c >= '\u202a' && c <= '\u202e' || c >= '\u2066' && c <= '\u2069'
}

// visible returns a text in which dangerous characters are escaped as in Go, except line ends and
// tabs.
func visible(s string) string {
	harmless := func(c rune) bool { return c == '\n' || c == '\t' || !dangerous(c) && c != utf8.RuneError }
	if strings.IndexFunc(s, func(c rune) bool { return !harmless(c) }) < 0 {
		return s
	}
	var b strings.Builder
	for i, c := range s {
		switch {
		case harmless(c):
			b.WriteRune(c)
		case c == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, s[i]) // a byte that is no UTF-8
		case c == utf8.RuneError:
			b.WriteRune(c)
		case c == '\r':
			b.WriteString(`\r`)
		case c < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			fmt.Fprintf(&b, `\u%04x`, c)
		}
	}
	return b.String()
}

// plainJSON returns the same JSON, with dangerous characters escaped. Some programs take U+2028,
// U+2029 or U+0085 for line ends.
func plainJSON(json string) string {
	if strings.IndexFunc(json, dangerous) < 0 {
		return json
	}
	var b strings.Builder
	for _, c := range json {
		if dangerous(c) {
			fmt.Fprintf(&b, `\u%04x`, c) // all of them are in the first plane
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// errReaderLeft ends a command whose output nobody reads any more. That is no failure.
var errReaderLeft = errors.New("the reader of the output has left")

// writeOut writes to stdout, in one call. If its reader has left, the error is errReaderLeft.
func writeOut(w io.Writer, b []byte) error {
	if _, err := w.Write(b); errors.Is(err, syscall.EPIPE) {
		return errReaderLeft
	} else if err != nil {
		return failure{fmt.Errorf("cannot write the output: %w", err)}
	}
	return nil
}

// A noter writes lines for a person to stderr.
type noter struct {
	w           io.Writer
	quiet       bool
	begin, stop string // of what is in color
}

func newNoter(w io.Writer, quiet bool) *noter {
	n := &noter{w: w, quiet: quiet}
	if colored(w) {
		n.begin, n.stop = "\x1b[33m", "\x1b[0m" // yellow
	}
	return n
}

// notef writes a line. What is in it may be a stranger's.
func (n *noter) notef(format string, args ...any) {
	if !n.quiet {
		text := strings.ReplaceAll(visible(fmt.Sprintf(format, args...)), "\n", " ")
		fmt.Fprintf(n.w, "%stidings: %s%s\n", n.begin, text, n.stop)
	}
}
