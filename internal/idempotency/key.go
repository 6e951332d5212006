// Package idempotency reads the Idempotency-Key header of a request. If a
// message is published again with the same key, it is stored only once.
package idempotency

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/problem"
)

// Header is the name of the header.
const Header = "Idempotency-Key"

// WindowHeader is the name of the header that says, in an answer to a request with a key, for
// how many seconds the key holds.
const WindowHeader = "Idempotency-Window"

// SetWindow says in an answer for how long the key of its request makes retries safe. That holds
// from when the message was stored. 0 means that this is not known.
func SetWindow(h http.Header, window time.Duration) {
	if window > 0 {
		h.Set(WindowHeader, strconv.FormatInt(int64(window/time.Second), 10))
	}
}

// Scope returns the key of a message within those of its publisher: another one may use the same.
// The publisher is a subject, and not a credential, so that a message that is sent again after a new
// token is still the same. The keys of somebody without a subject stay as they are, unless they
// look like a result.
func Scope(subject, key string) string {
	if key == "" || subject == "" && !strings.HasPrefix(key, scoped) {
		return key
	}
	text := append(binary.AppendUvarint(nil, uint64(len(subject))), subject...)
	sum := sha256.Sum256(append(text, key...))
	return scoped + base64.RawURLEncoding.EncodeToString(sum[:])
}

// scoped begins the keys that Scope returns. A header cannot have it.
const scoped = "\x00"

// Key returns the key of a request, or "" if the request has no key. The header
// holds a quoted string (draft-ietf-httpapi-idempotency-key-header, RFC 9651,
// section 3.3.3). Most clients send it without the quotes, which Key accepts
// too: "a1" and a1 are the same key.
func Key(h http.Header) (string, error) {
	values := h[Header]
	switch len(values) {
	case 0:
		return "", nil
	case 1:
	default:
		return "", badKey("was sent %d times. Send it once", len(values))
	}
	value := strings.Trim(values[0], " \t")
	key, ok := value, true
	if strings.HasPrefix(value, `"`) {
		if key, ok = unquoteKey(value); !ok {
			return "", badKey(`is %s, which begins with a quote but is not one quoted string of ASCII characters. Inside the string, write \" for a quote and \\ for a backslash`, strconv.Quote(value))
		}
	} else if strings.ContainsFunc(value, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == ',' }) {
		return "", badKey(`is %s. Put a key with spaces, commas or quotes between quotes, and use only ASCII characters`, strconv.Quote(value))
	}
	switch {
	case key == "":
		return "", badKey("is empty. Omit it, or send a new key for each message")
	case len(key) > eventlog.MaxKeyBytes:
		return "", badKey("has %d bytes. The limit is %d", len(key), eventlog.MaxKeyBytes)
	}
	return key, nil
}

func badKey(format string, args ...any) error {
	return problem.InvalidKey.Withf("The header "+Header+" "+format+".", args...).About("key")
}

// unquoteKey decodes a string of RFC 9651. It accepts no parameters after the
// string.
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
