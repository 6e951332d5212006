package httpapi

import (
	"context"
	"net/http"

	"example.com/tidings/hub"
	"example.com/tidings/internal/idempotency"
)

// IdempotencyKey is idempotency.Key.
func IdempotencyKey(h http.Header) (string, error) {
	return idempotency.Key(h)
}

// ParseBatch is parseBatch.
func ParseBatch(body []byte, maxMessage int) ([]hub.Message, []int, error) {
	b, refusal := parseBatch(body, maxMessage)
	if refusal != nil {
		return nil, nil, refusal
	}
	return b.messages, b.lines, nil
}

// ValidJSON is validJSON.
var ValidJSON = validJSON

// Detach returns what detach does, and its cancel.
func Detach(r *http.Request, n int) (context.Context, context.CancelFunc) {
	d := detach(r, n)
	return d, d.cancel
}
