package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
)

// A problemType is one of the ways in which the API refuses a request. Its URI
// is stable: clients branch on it. All are listed in docs/http-api.md.
type problemType int

const (
	invalidJSON problemType = iota
	unexpectedBody
	originNotAllowed
	notFound
	methodNotAllowed
	requestTimeout
	bodyTooLarge
	unsupportedMediaType
	hostNotAllowed
	invalidMessage
	internalError
	stopping
)

// problemTypes are in the order of their constants and of their statuses.
var problemTypes = [...]struct {
	name   string // of the URI
	status int
	title  string
}{
	invalidJSON:          {"invalid-json", http.StatusBadRequest, "The body is not JSON"},
	unexpectedBody:       {"unexpected-body", http.StatusBadRequest, "The request has a body"},
	originNotAllowed:     {"origin-not-allowed", http.StatusForbidden, "The page's origin is not allowed"},
	notFound:             {"not-found", http.StatusNotFound, "There is nothing at this path"},
	methodNotAllowed:     {"method-not-allowed", http.StatusMethodNotAllowed, "The method is not allowed here"},
	requestTimeout:       {"request-timeout", http.StatusRequestTimeout, "The body came too slowly"},
	bodyTooLarge:         {"body-too-large", http.StatusRequestEntityTooLarge, "The body is too large"},
	unsupportedMediaType: {"unsupported-media-type", http.StatusUnsupportedMediaType, "The body is not labelled as JSON"},
	hostNotAllowed:       {"host-not-allowed", http.StatusMisdirectedRequest, "The Host header is not allowed"},
	invalidMessage:       {"invalid-message", http.StatusUnprocessableEntity, "The JSON is not a message"},
	internalError:        {"internal-error", http.StatusInternalServerError, "The server failed"},
	stopping:             {"stopping", http.StatusServiceUnavailable, "The server is stopping"},
}

// uri returns the problem type's URI.
func (t problemType) uri() string { return "urn:tidings:problem:" + problemTypes[t].name }

// with returns a problem of this type. detail is a sentence on which a user can
// act, never the text of an internal error.
func (t problemType) with(detail string) *problem { return &problem{t: t, detail: detail} }

func (t problemType) withf(format string, args ...any) *problem {
	return t.with(fmt.Sprintf(format, args...))
}

// A problem is a refusal of one request. As an http.Handler it is the response
// (RFC 9457).
type problem struct {
	t      problemType
	detail string
	header http.Header // set on the response

	// Members of the problem's own (RFC 9457, section 3.2), left out when zero.
	line, column int    // where in the body, counted from 1, columns in characters
	field        string // of the message
}

func (p *problem) Error() string { return p.uri() + ": " + p.detail }

func (p *problem) uri() string { return p.t.uri() }

// set adds a header to the response.
func (p *problem) set(key, value string) *problem {
	if p.header == nil {
		p.header = make(http.Header)
	}
	p.header.Set(key, value)
	return p
}

func (p *problem) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	status := problemTypes[p.t].status
	body, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Line   int    `json:"line,omitempty"`
		Column int    `json:"column,omitempty"`
		Field  string `json:"field,omitempty"`
	}{p.uri(), problemTypes[p.t].title, status, p.detail, p.line, p.column, p.field})
	if err != nil {
		panic(err) // strings and integers always marshal
	}
	body = append(body, '\n')
	h := w.Header()
	maps.Copy(h, p.header)
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(body)
}
