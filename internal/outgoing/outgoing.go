// Package outgoing has what the requests of the clients have in common: packages
// eventsource and publish, and the commands of tidings. These are redirects, waits
// and the text of errors.
package outgoing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// HookTime is how long a hook may take before each request.
	HookTime = 10 * time.Second

	// MaxWait is the longest time that a server can make a client wait, without
	// the random part.
	MaxWait = time.Hour

	mostBackoff  = 30 * time.Second
	mostDoubling = 5 // 1 s doubled so often is above mostBackoff
	mostHops     = 10
)

// Backoff returns a random wait of ½ to 1 times the smaller of 30 s and 1 s·2ⁿ.
func Backoff(n int) time.Duration {
	full := min(mostBackoff, time.Second<<min(max(n, 0), mostDoubling))
	return full/2 + rand.N(full/2+1)
}

// Spread returns a random wait of 1 to 1½ times wish, so that the clients of one
// server do not come back together. A wish above MaxWait counts as MaxWait.
func Spread(wish time.Duration) time.Duration {
	wish = min(wish, MaxWait)
	return wish + rand.N(wish/2+1)
}

// RetryAfter returns the wait that a response asks for (RFC 9110, section
// 10.2.3). A date in the past is 0. ok reports whether there is a valid value.
func RetryAfter(h http.Header, now time.Time) (wait time.Duration, ok bool) {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0, false
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(MaxWait/time.Second) {
			return MaxWait, true // digits only, so the value is too large
		}
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), MaxWait), true
}

// CheckClient returns an error if c bounds the time of a whole response.
func CheckClient(c *http.Client) error {
	if c != nil && c.Timeout != 0 {
		return fmt.Errorf("http.Client.Timeout is %v, which would cut every stream after that time. Set it to 0. The time until a response begins is bounded without it", c.Timeout)
	}
	return nil
}

// CheckMethod returns an error if a method has characters that none has (RFC 9110,
// section 9.1).
func CheckMethod(method string) error {
	if !isToken(method) {
		return fmt.Errorf("%q is not the name of a method", method)
	}
	return nil
}

// CheckHeader returns an error if a request with this header could never be sent.
// The error has no value of the header, which may be a secret.
func CheckHeader(h http.Header) error {
	for name, values := range h {
		if !isToken(name) {
			return fmt.Errorf("%q is not the name of a header", name)
		}
		for _, value := range values {
			if !IsHeaderValue(value) {
				return fmt.Errorf("the header %q has a value with a control character, such as a line end", name)
			}
		}
	}
	return nil
}

// isToken reports whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7F || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	})
}

// IsHeaderValue reports whether s can be the value of a header: it has no control
// character but tabs.
func IsHeaderValue(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7F })
}

// Protected returns a copy of c that sends the caller's headers only to the
// origin of its first request. kept are the names of the headers that follow a
// redirect to another origin.
func Protected(c *http.Client, kept ...string) *http.Client {
	protected := *c
	protected.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if leaves(req, via) {
			for name := range req.Header {
				if !contains(kept, name) {
					req.Header.Del(name)
				}
			}
		}
		if c.CheckRedirect != nil {
			return c.CheckRedirect(req, via)
		}
		if len(via) >= mostHops {
			return fmt.Errorf("stopped after %d redirects", mostHops)
		}
		return nil
	}
	return &protected
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// leaves reports whether a redirect, or one before it, leads to another origin
// than that of the first request.
func leaves(req *http.Request, via []*http.Request) bool {
	first := via[0].URL
	if !sameOrigin(first, req.URL) {
		return true
	}
	for _, hop := range via[1:] {
		if !sameOrigin(first, hop.URL) {
			return true
		}
	}
	return false
}

// sameOrigin reports whether a secret for from may be sent to to: both have the
// same host and port, or to is the same host with HTTPS on its usual port.
func sameOrigin(from, to *url.URL) bool {
	if !strings.EqualFold(from.Hostname(), to.Hostname()) {
		return false
	}
	if from.Scheme == to.Scheme {
		return port(from) == port(to)
	}
	return from.Scheme == "http" && to.Scheme == "https" && port(from) == "80" && port(to) == "443"
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// PlainURL returns the URL without its query, its fragment and its user, which
// may be secrets.
func PlainURL(u *url.URL) string {
	plain := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return plain.String()
}

// Cause returns why a request failed. If ctx is done, that is its cause.
// Otherwise it is err, without the URL that package http puts before it: that
// has the query.
func Cause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// A Problem has what clients use of a problem (RFC 9457).
type Problem struct {
	Type   string
	Title  string
	Detail string
	Line   int
}

// ParseProblem returns the problem that an answer with this header and body is. ok
// is false if it is none.
func ParseProblem(h http.Header, body []byte) (p Problem, ok bool) {
	mediaType, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return p, mediaType == "application/problem+json" && json.Unmarshal(body, &p) == nil
}

// Printable replaces what could write over a terminal.
func Printable(s string) string {
	return strings.Map(func(c rune) rune {
		if !strconv.IsPrint(c) {
			return ' '
		}
		return c
	}, s)
}

// Temporary reports whether a request with such an answer may succeed later.
func Temporary(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500
}
