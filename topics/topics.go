// Package topics has the vocabulary of topics: names, filters that select them, and
// tokens that are safe to put into a name. Publishers, logs, clients and permissions
// share it.
package topics

import (
	"errors"
	"fmt"
	"strings"

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
	for rest, more := s, true; more; {
		var token string
		token, rest, more = strings.Cut(rest, ".")
		if token == "" {
			return invalid("%s has an empty token: tokens are separated by single dots", quote.Short(s))
		}
		for _, c := range token {
			if !tokenChar(c) && c != '*' {
				return invalid("%s has %q, and may have only A-Z a-z 0-9 - _ ~ @ : = and dots between tokens", quote.Short(s), c)
			}
		}
		if err := each(token, !more); err != nil {
			return err
		}
	}
	if strings.HasPrefix(s, ReservedPrefix) {
		return fmt.Errorf("%w: %s begins with %q", ErrReserved, quote.Short(s), ReservedPrefix)
	}
	return nil
}

func tokenChar(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-_~@:=", c)
}

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
		if c != '=' && c < 0x80 && tokenChar(rune(c)) && !(i == 0 && s+"." == ReservedPrefix) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}
