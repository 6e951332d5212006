// Package quote quotes what a client sent, for messages to the client and the log.
package quote

import "strconv"

// longest is how many characters of a text are quoted.
const longest = 60

// Short returns the text in quotes, as [strconv.Quote], and cuts a long one. It takes credentials
// out, as [Redact].
func Short(s string) string {
	s = Redact(s)
	if r := []rune(s); len(r) > longest {
		s = string(r[:longest]) + "…"
	}
	return strconv.Quote(s)
}
