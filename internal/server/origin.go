package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.com/tidings/internal/idempotency"
	"example.com/tidings/internal/problem"
)

// An originPolicy decides which web pages may use the server: pages of its own
// origin and of the allowed origins. It allows every request that does not come
// from a browser, because such a request has no origin.
type originPolicy struct {
	allowed    map[string]bool
	protection *http.CrossOriginProtection
}

// newOriginPolicy checks the origins given by --allow-origin.
func newOriginPolicy(origins []string) (*originPolicy, error) {
	p := &originPolicy{
		allowed:    make(map[string]bool, len(origins)),
		protection: http.NewCrossOriginProtection(),
	}
	for _, given := range origins {
		given = strings.TrimSpace(given)
		if given == "*" {
			return nil, errors.New(`--allow-origin "*": any web site could then read and publish everything; list the origins, as in http://localhost:5173`)
		}
		origin, err := normalOrigin(given)
		if err != nil {
			return nil, fmt.Errorf("--allow-origin %q: %w; want scheme://host[:port], as in http://localhost:5173", given, err)
		}
		if err := p.protection.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("--allow-origin %q: %w", given, err)
		}
		p.allowed[origin] = true
	}
	return p, nil
}

// normalOrigin returns an origin as browsers send it: lower case and without
// the scheme's own port (RFC 6454, section 6.2).
func normalOrigin(s string) (string, error) {
	u, err := url.Parse(strings.ToLower(s))
	switch {
	case err != nil || u.Scheme == "" || u.Hostname() == "" || u.Opaque != "":
		return "", errors.New("this is not an origin")
	case u.User != nil:
		return "", errors.New("an origin has no user")
	case strings.HasSuffix(u.Host, ":"):
		return "", errors.New("the port is missing")
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(s, "?#"):
		return "", errors.New("an origin has no path, query or fragment")
	case strings.Contains(u.Host, "*"):
		return "", errors.New("an origin has no wildcard")
	}
	host := u.Host
	switch {
	case u.Scheme == "http":
		host = strings.TrimSuffix(host, ":80")
	case u.Scheme == "https":
		host = strings.TrimSuffix(host, ":443")
	}
	return u.Scheme + "://" + host, nil
}

// foreign reports whether r comes from a page that may not use the server. If
// strict, it treats safe methods like unsafe ones: a page of another site cannot
// read a stream, but could hold it open.
func (p *originPolicy) foreign(r *http.Request, strict bool) bool {
	if strict && r.Method != http.MethodPost {
		asUnsafe := *r
		asUnsafe.Method = http.MethodPost
		r = &asUnsafe
	}
	return p.protection.Check(r) != nil
}

func (p *originPolicy) refuse(r *http.Request) *problem.Problem {
	if origin, err := normalOrigin(r.Header.Get("Origin")); err == nil {
		return problem.OriginNotAllowed.Withf("Pages of %s may not use this server. If that is your site, start the server with --allow-origin %s.", origin, origin)
	}
	if r.Header.Get("Origin") == "null" {
		return problem.OriginNotAllowed.With("Pages without an origin, such as a file opened in the browser, may not use this server. Serve the page over HTTP, and start the server with --allow-origin and the page's origin.")
	}
	return problem.OriginNotAllowed.With("Pages of other sites may not use this server. If it is your own page, start the server with --allow-origin and the page's origin.")
}

// share lets a page of an allowed origin read the response to r, with the headers
// that a client of the API needs (Fetch standard, CORS protocol). It allows credentials,
// because some libraries open an EventSource with withCredentials whether or not there are
// cookies.
func (p *originPolicy) share(h http.Header, r *http.Request) {
	if origin := r.Header.Get("Origin"); p.allowed[origin] {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Expose-Headers", "Location, ETag, Retry-After, "+idempotency.WindowHeader)
	}
}

// preflight reports whether r is a CORS preflight: a browser asks whether a page
// may send another request.
func preflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" &&
		r.Header.Get("Access-Control-Request-Method") != ""
}

// preflightHandler returns the handler of a preflight for a route with these methods.
func (p *originPolicy) preflightHandler(r *http.Request, methods string) (http.Handler, error) {
	if !p.allowed[r.Header.Get("Origin")] {
		return nil, p.refuse(r)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Methods", methods)
		h.Set("Access-Control-Allow-Headers", allowedHeaders(r))
		h.Set("Access-Control-Max-Age", "600") // seconds
		w.WriteHeader(http.StatusNoContent)
	}), nil
}

// allowedHeaders returns the header names that a page may send: those that the API knows, and
// those that the preflight asks for. Libraries have headers of their own, and the origin is
// trusted.
func allowedHeaders(r *http.Request) string {
	names := []string{"Authorization", "Cache-Control", "Content-Type", idempotency.Header, "Last-Event-ID"}
	for _, line := range r.Header["Access-Control-Request-Headers"] {
		for name := range strings.SplitSeq(line, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if len(names) < maxAllowedHeaders && isToken(name) && !slices.ContainsFunc(names, func(known string) bool { return strings.EqualFold(known, name) }) {
				names = append(names, name)
			}
		}
	}
	return strings.Join(names, ", ")
}

// isToken reports whether a string is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == ""
}

// maxAllowedHeaders bounds the answer to a preflight.
const maxAllowedHeaders = 64
