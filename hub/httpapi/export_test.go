package httpapi

import (
	"bytes"
	"context"
	"net/http"

	"example.com/tidings/hub"
	"example.com/tidings/internal/idempotency"
	"example.com/tidings/internal/yield"
)

// IdempotencyKey is idempotency.Key.
func IdempotencyKey(h http.Header) (string, error) {
	return idempotency.Key(h)
}

// ParseBatch takes the messages out of a body.
func ParseBatch(body []byte, maxMessage int) ([]hub.Message, []int, error) {
	b := batch{maxMessage: maxMessage, work: new(yield.Work)}
	for line := range bytes.Lines(body) {
		if err := b.add(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
			return nil, nil, err
		}
	}
	if err := b.complete(); err != nil {
		return nil, nil, err
	}
	return b.messages, b.lines, nil
}

// Detach returns what detach does, and its cancel.
func Detach(r *http.Request, n int) (context.Context, context.CancelFunc) {
	d := detach(r, n)
	return d, d.cancel
}

// AppendString appends a JSON string as an answer does.
func AppendString(b []byte, s string, part int) []byte {
	for b = append(b, '"'); len(s) > 0; {
		n := runeEnd(s, part)
		b = appendEscaped(b, s[:n])
		s = s[n:]
	}
	return append(b, '"')
}
