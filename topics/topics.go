// Package topics has the vocabulary of topics: names, filters that select them, and
// tokens that are safe to put into a name. Publishers, logs, clients and permissions
// share it.
package topics

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"example.com/tidings/internal/quote"
)

// The bounds of a topic and of a filter.
const (
	MaxBytes  = 200
	MaxTokens = 16
)

// ReservedPrefix begins the topics and event types that belong to the hub.
// Nothing can be published under it.
const ReservedPrefix = "tidings."

// ErrReserved refuses a name that begins with [ReservedPrefix].
var ErrReserved = errors.New("topics: reserved")

// An Error refuses a topic or a filter. Its Reason can be shown to the client that
// sent it.
type Error struct {
	Reason string // a predicate, such as "is empty"
}

func (e *Error) Error() string { return "topics: the name " + e.Reason }

func invalid(format string, args ...any) *Error { return &Error{fmt.Sprintf(format, args...)} }

// Check returns nil if s is a topic: 1 to [MaxTokens] tokens joined by dots, at most
// [MaxBytes] in all. Each token has one or more of the characters
// A–Z a–z 0–9 - _ ~ @ : = which need no encoding in a URL. The error is an [*Error],
// or wraps [ErrReserved].
func Check(s string) error {
	return checkTokens(s, func(token string, _ bool) error {
		if strings.Contains(token, "*") {
			return invalid("%s has a *, which only filters may have", quote.Short(s))
		}
		return nil
	})
}

// checkTokens checks the rules that topics and filters share. It calls each for every
// token, which may contain a *.
func checkTokens(s string, each func(token string, last bool) error) error {
	switch {
	case s == "":
		return invalid("is empty")
	case len(s) > MaxBytes:
		return invalid("has %d bytes, more than %d", len(s), MaxBytes)
	case strings.Count(s, ".") >= MaxTokens:
		return invalid("%s has %d tokens, more than %d", quote.Short(s), strings.Count(s, ".")+1, MaxTokens)
	}
	begin := 0 // of the token
	for i := range len(s) + 1 {
		switch {
		case i < len(s) && (tokenChars[s[i]] || s[i] == '*'):
			continue
		case i < len(s) && s[i] != '.':
			c, _ := utf8.DecodeRuneInString(s[i:])
			return invalid("%s has %q, and may have only A-Z a-z 0-9 - _ ~ @ : = and dots between tokens", quote.Short(s), c)
		case i == begin:
			return invalid("%s has an empty token: tokens are separated by single dots", quote.Short(s))
		}
		if err := each(s[begin:i], i == len(s)); err != nil {
			return err
		}
		begin = i + 1
	}
	if strings.HasPrefix(s, ReservedPrefix) {
		return fmt.Errorf("%w: %s begins with %q", ErrReserved, quote.Short(s), ReservedPrefix)
	}
	return nil
}

// tokenChars has true for the characters that a token may have.
var tokenChars = func() (chars [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~@:=") {
		chars[c] = true
	}
	return chars
}()

// Token encodes any string as one token of a topic. Different strings become different
// tokens. A byte that a token may not have, and =, becomes = and two hexadecimal digits.
// The empty string becomes a single =. So a user's name, a path or an address can be
// part of a topic:
//
//	name := "users." + topics.Token("zoë@example.org") + ".inbox"
//
// The whole topic still has to stay within its bounds: s should have at most about 60
// bytes.
func Token(s string) string {
	if s == "" {
		return "="
	}
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		// The first token of a topic may not be that of ReservedPrefix.
		if c != '=' && tokenChars[c] && !(i == 0 && s+"." == ReservedPrefix) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}
