package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/quote"
)

// parseQuery returns the parameters of the URL. known are the names of the route's own. Others
// are ignored: caches, proxies and clients add some of their own. One that is a mistyped name of
// the route's own is refused: the request would mean something else than its sender thinks.
func parseQuery(r *http.Request, known ...string) (url.Values, error) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, problem.InvalidQuery.With("The part of the URL after the ? is malformed: a % that is not followed by two hexadecimal digits, or a semicolon. " +
			"Encode them as %25 and %3B.")
	}
	for given := range q {
		if name := meant(given, known); name != "" {
			return nil, problem.InvalidQuery.Withf("The parameter %s is not known. Its right spelling is %s.", quote.Short(given), name).About(name)
		}
	}
	return q, nil
}

// meant returns the known parameter that a name is a mistyped form of, or "". The two are equal
// but for case, - and _, and for an s at the end or a last letter that is doubled.
func meant(given string, known []string) string {
	if slices.Contains(known, given) {
		return ""
	}
	plain := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(given))
	for _, name := range known {
		rest, ok := strings.CutPrefix(plain, strings.ToLower(name))
		if ok && (rest == "" || rest == "s" || rest == name[len(name)-1:]) {
			return name
		}
	}
	return ""
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
