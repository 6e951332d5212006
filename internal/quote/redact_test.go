package quote_test

import (
	"strings"
	"testing"

	"example.com/tidings/internal/quote"
)

func TestRedact(t *testing.T) {
	const (
		key   = "tdk_shop-2_uVx0cM1-_pQ3vZ8kq0hG1n2m3b4v5c6x7z8a9s0d1f2"
		token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.kK3mZ-_x9wQ"
	)
	for _, tc := range []struct{ text, want string }{
		{"", ""},
		{"/topics/orders.42", "/topics/orders.42"},
		{key, "(credential)"},
		{"/topics/" + key, "/topics/(credential)"},
		{"/" + token + "/" + key + "?", "/(credential)/(credential)?"},
		{`"jwt:` + token + `"`, `"jwt:(credential)"`},
		{"a=" + token, "a=(credential)"},
		{"x" + key, "x(credential)"},
		{token[:30] + "…", "(credential)…"},
		{"an API key begins with tdk_.", "an API key begins with tdk_."},
		{"users.heyJude.inbox.of.the.band.from.liverpool", "users.heyJude.inbox.of.the.band.from.liverpool"},
		{"eyJay", "eyJay"},
		{"Bearer" + token, "Bearer(credential)"},
		{"/topics/%65" + token[1:], "/topics/(credential)"},
		{"/topics/%2565" + token[1:] + "%20", "/topics/(credential) "},
		{"/topics/tdk%255f" + key[4:], "/topics/(credential)"},
		{"/topics/a%2Fb of 100%", "/topics/a%2Fb of 100%"},
		{"/topics/a%2Fb", "/topics/a%2Fb"},
	} {
		if got := quote.Redact(tc.text); got != tc.want {
			t.Errorf("%q becomes %q, want %q", tc.text, got, tc.want)
		}
	}
	if got := quote.Short(strings.Repeat("x", 50) + " " + key); got != `"`+strings.Repeat("x", 50)+` (credenti…"` {
		t.Errorf("a key that is cut off: %s", got)
	}
}
