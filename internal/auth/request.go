package auth

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Errors of [FromRequest], beside [ErrNotAccepted].
var (
	// ErrAmbiguous means that a request has two credentials of one kind. A site beside this one
	// may have added a cookie.
	ErrAmbiguous = errors.New("auth: the request has two credentials")

	// ErrForeignPage means that a page of another origin has sent the cookie.
	ErrForeignPage = errors.New("auth: a page of another origin may not use the cookie")
)

// FromRequest returns the credential of a request, or "" if it has none: the bearer of its
// Authorization header (RFC 6750, section 2.1), or else its cookie of the given name. A credential
// in the URL is none: it would stand in logs.
//
// The cookie counts only for pages that trusted accepts by their origin. A browser says the origin
// in the header Origin, or that it is the server's own in Sec-Fetch-Site. Old browsers say neither
// for a GET.
func FromRequest(r *http.Request, cookie string, trusted func(origin string) bool) (credential string, fromCookie bool, err error) {
	if values := r.Header["Authorization"]; len(values) > 0 {
		if len(values) > 1 {
			return "", false, fmt.Errorf("%w: two Authorization headers", ErrAmbiguous)
		}
		scheme, credential, _ := strings.Cut(values[0], " ")
		if credential = strings.Trim(credential, " "); !strings.EqualFold(scheme, "Bearer") || credential == "" {
			return "", false, fmt.Errorf("%w: the Authorization header is not Bearer and a credential", ErrNotAccepted)
		}
		return credential, false, nil
	}
	cookies := r.CookiesNamed(cookie)
	switch {
	case len(cookies) == 0:
		return "", false, nil
	case len(cookies) > 1:
		return "", true, fmt.Errorf("%w: two cookies %s", ErrAmbiguous, cookie)
	case cookies[0].Value == "":
		return "", true, fmt.Errorf("%w: the cookie %s is empty", ErrNotAccepted, cookie)
	case !counts(r, trusted):
		return "", true, ErrForeignPage
	case strings.HasPrefix(cookies[0].Value, KeyPrefix):
		return "", true, fmt.Errorf("%w: an API key counts only in the Authorization header", ErrNotAccepted)
	}
	return cookies[0].Value, true, nil
}

// counts reports whether a page that is trusted has sent a request.
func counts(r *http.Request, trusted func(origin string) bool) bool {
	if origins := r.Header["Origin"]; len(origins) > 0 {
		return len(origins) == 1 && trusted(origins[0])
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return true
	case "":
		return r.Method == http.MethodGet || r.Method == http.MethodHead
	}
	return false
}
