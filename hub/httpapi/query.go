package httpapi

import (
	"net/http"
	"net/url"
	"strconv"

	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/quote"
)

// parseQuery returns the parameters of the URL. Those that no route knows are
// ignored: caches, proxies and clients add some of their own.
func parseQuery(r *http.Request) (url.Values, error) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, problem.InvalidQuery.With("The part of the URL after the ? is malformed: a % that is not followed by two hexadecimal digits, or a semicolon. " +
			"Encode them as %25 and %3B.")
	}
	return q, nil
}

// single returns a parameter that may stand once, and "" where it does not.
func single(q url.Values, name string, kind problem.Type) (string, error) {
	values := q[name]
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", kind.Withf("The parameter %s is given %d times. Give it once.", name, len(values)).About(name)
}

// The number of topics or events on a page.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// parseLimit returns the parameter limit.
func parseLimit(q url.Values) (int, error) {
	s, err := single(q, "limit", problem.InvalidLimit)
	if err != nil || s == "" {
		return defaultLimit, err
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxLimit || s[0] == '+' {
		return 0, problem.InvalidLimit.Withf("The limit is a number from 1 to %d, not %s.", maxLimit, quote.Short(s)).About("limit")
	}
	return n, nil
}
