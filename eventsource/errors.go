package eventsource

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"example.com/tidings/internal/outgoing"
)

// A namedError is one of the variables below.
type namedError struct{ text string }

func (e *namedError) Error() string { return e.text }

var (
	// ErrFinal ends a sequence if an error of [Options.Prepare] wraps it.
	ErrFinal error = &namedError{"eventsource: the credentials are refused for good"}

	// ErrEnded says that the server has ended the response.
	ErrEnded error = &namedError{"eventsource: the server has ended the stream"}

	// ErrSilent says that a connection brought no byte for too long.
	ErrSilent error = &namedError{"eventsource: the connection is silent, as if it were dead"}

	// ErrNoAnswer says that a server did not begin its response within 20
	// seconds.
	ErrNoAnswer error = &namedError{"eventsource: the server did not answer within 20 seconds"}

	// ErrUnavailable says that the hub cannot take the stream now
	// (tidings.unavailable).
	ErrUnavailable error = &namedError{"eventsource: the hub cannot take another stream now"}
)

var (
	errReconnect = errors.New("eventsource: Reconnect was called")
	errRanged    = errors.New("eventsource: two loops range over the events of one Client. Use a Client for each")
)

// A StatusError is an answer whose status does not make a stream.
type StatusError struct {
	URL    string // the requested URL, without its query
	Status int
	Header http.Header
	Body   []byte // the beginning of the body, up to 4 KiB
}

// Error describes the answer, with the detail of a problem (RFC 9457).
func (e *StatusError) Error() string {
	s := fmt.Sprintf("eventsource: %s answered %s", e.URL, strings.TrimSpace(strconv.Itoa(e.Status)+" "+http.StatusText(e.Status)))
	if detail := detail(e.Header, e.Body); detail != "" {
		s += ": " + detail
	}
	return s
}

// A ContentTypeError is an answer that is no stream of server-sent events.
type ContentTypeError struct {
	URL         string // the requested URL, without its query
	ContentType string
	Encoding    string // the Content-Encoding, if the body is compressed and so cannot be read
	Body        []byte // the beginning of the body, up to 4 KiB
}

// Error describes the answer, with up to 200 bytes of its body.
func (e *ContentTypeError) Error() string {
	if e.Encoding != "" {
		return fmt.Sprintf("eventsource: %s answered with the Content-Encoding %q, which the client has not asked for", e.URL, e.Encoding)
	}
	s := fmt.Sprintf("eventsource: %s answered with the Content-Type %q, which is not text/event-stream", e.URL, e.ContentType)
	if len(e.Body) > 0 {
		s += fmt.Sprintf(". It begins with %q", e.Body[:min(len(e.Body), quotedBody)])
	}
	return s
}

// An EndError says that the hub has ended the stream with the event tidings.end.
type EndError struct {
	Reason string // as in the hub's documentation: stopping, limit, expired or revoked
}

func (e *EndError) Error() string {
	return fmt.Sprintf("eventsource: the hub has ended the stream (%s)", e.Reason)
}

const (
	keptBody   = 4 << 10
	quotedBody = 200
)

// readBody returns the beginning of a body.
func readBody(body io.Reader) []byte {
	b, _ := io.ReadAll(io.LimitReader(body, keptBody))
	return b
}

// detail returns what the body of a refusal says, on one line.
func detail(h http.Header, body []byte) string {
	if p, ok := outgoing.ParseProblem(h, body); ok && p.Title+p.Detail != "" {
		return outgoing.Printable(cmp.Or(p.Detail, p.Title))
	}
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return ""
	}
	return strconv.Quote(string(body[:min(len(body), quotedBody)]))
}
