package main

import (
	"log/slog"

	"example.com/tidings/internal/quote"
)

// redact takes the credentials out of an attribute of the log. It is a ReplaceAttr of
// [slog.HandlerOptions].
func redact(_ []string, a slog.Attr) slog.Attr {
	var text string
	switch v := a.Value.Any().(type) {
	case string:
		text = v
	case error:
		text = v.Error()
	default:
		return a
	}
	if redacted := quote.Redact(text); redacted != text {
		return slog.String(a.Key, redacted)
	}
	return a
}
