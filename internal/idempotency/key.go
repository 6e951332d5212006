// Package idempotency reads the Idempotency-Key of a request, by which a message
// that is published again is stored once.
package idempotency

import (
	"net/http"
	"strconv"
	"strings"

	"example.com/tidings/hub"
	"example.com/tidings/internal/problem"
)

// Header is the name of the header.
const Header = "Idempotency-Key"

// Key returns the key of a request, or "" if it has none. It is a
// string as the draft of the header has it (draft-ietf-httpapi-idempotency-key-header,
// RFC 9651, section 3.3.3), or the same without quotes, as most clients send it:
// "a1" and a1 are one key.
func Key(h http.Header) (string, *problem.Problem) {
	values := h[Header]
	switch len(values) {
	case 0:
		return "", nil
	case 1:
	default:
		return "", badKey("is sent %d times. Send one", len(values))
	}
	value := strings.Trim(values[0], " \t")
	key, ok := value, true
	if strings.HasPrefix(value, `"`) {
		if key, ok = unquoteKey(value); !ok {
			return "", badKey(`is %s, which begins with a quote and is not one quoted string of ASCII characters; in it \" stands for a quote and \\ for a backslash`, strconv.Quote(value))
		}
	} else if strings.ContainsFunc(value, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == ',' }) {
		return "", badKey(`is %s. Put a key that has spaces, commas or quotes between quotes; it has no characters beyond ASCII`, strconv.Quote(value))
	}
	switch {
	case key == "":
		return "", badKey("is empty. Leave it out, or make one for each message")
	case len(key) > hub.MaxKeyBytes:
		return "", badKey("has %d bytes, more than %d", len(key), hub.MaxKeyBytes)
	}
	return key, nil
}

func badKey(format string, args ...any) *problem.Problem {
	return problem.InvalidKey.Withf("The header "+Header+" "+format+".", args...).About("key")
}

// unquoteKey returns what a string of RFC 9651 says. Parameters are not known.
func unquoteKey(s string) (key string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			return b.String(), i == len(s)-1
		case c == '\\':
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", false
			}
			c = s[i]
		case c < ' ' || c > '~':
			return "", false
		}
		b.WriteByte(c)
	}
	return "", false
}
