package quote

import (
	"net/url"
	"strings"
)

// shortest is how long a credential is at least: an API key has more characters, and so has the
// first part of a signed token, however it is cut off in between.
const shortest = 20

// mostLayers is how often a credential may be percent-encoded, and is found nevertheless.
const mostLayers = 3

// Redact returns a text with (credential) in place of each API key and each signed token. Clients
// put them where they do not belong, such as into a path. If they are percent-encoded there, so
// that they are not found otherwise, Redact decodes the text.
func Redact(s string) string {
	decoded := s
	for range mostLayers {
		d, err := url.PathUnescape(decoded)
		if err != nil || d == decoded {
			break
		}
		decoded = d
	}
	if r := redact(decoded); r != decoded {
		return r
	}
	return s
}

func redact(s string) string {
	if !strings.Contains(s, "tdk_") && !strings.Contains(s, "eyJ") { // the usual case
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		n := credential(s[i:])
		if strings.HasPrefix(s[i:], "eyJ") && i > 0 && alphanumeric(s[i-1]) { // in the middle of a word
			if first, _, _ := strings.Cut(s[i:i+n], "."); len(first) < shortest {
				n = 0
			}
		}
		if n < shortest {
			b.WriteByte(s[i])
			i++
			continue
		}
		b.WriteString("(credential)")
		i += n
	}
	return b.String()
}

// credential returns how long the credential is that a text begins with, or 0.
func credential(s string) (n int) {
	// eyJ is how {" begins in base64.
	if !strings.HasPrefix(s, "tdk_") && !strings.HasPrefix(s, "eyJ") {
		return 0
	}
	for n < len(s) && (alphanumeric(s[n]) || strings.IndexByte("-_.=~%", s[n]) >= 0) {
		n++
	}
	return n
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
