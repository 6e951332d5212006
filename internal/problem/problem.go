// Package problem has the errors of the HTTP API, as their responses: RFC 9457
// problem details, each of a type from one list.
package problem

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
)

// A Problem is a refusal of one request. As an http.Handler it is the response
// (RFC 9457). It is not changed once it is shared.
type Problem struct {
	Type   Type
	Detail string      // a sentence on which a user can act, never the text of an internal error
	Header http.Header // set on the response

	// Members of the problem's own (RFC 9457, section 3.2), left out when zero.
	Line, Column int    // where in the body, counted from 1, columns in characters
	Field        string // of the message, or the parameter of the URL
}

// With returns a problem of this type.
func (t Type) With(detail string) *Problem { return &Problem{Type: t, Detail: detail} }

// Withf returns a problem of this type, its detail formatted.
func (t Type) Withf(format string, args ...any) *Problem {
	return t.With(fmt.Sprintf(format, args...))
}

func (p *Problem) Error() string { return p.Type.URI() + ": " + p.Detail }

// Set adds a header to the response.
func (p *Problem) Set(key, value string) *Problem {
	if p.Header == nil {
		p.Header = make(http.Header)
	}
	p.Header.Set(key, value)
	return p
}

// About says which field or parameter is at fault.
func (p *Problem) About(field string) *Problem {
	p.Field = field
	return p
}

// ServeHTTP answers with the problem.
func (p *Problem) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	status := p.Type.Status()
	body, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Line   int    `json:"line,omitempty"`
		Column int    `json:"column,omitempty"`
		Field  string `json:"field,omitempty"`
	}{p.Type.URI(), p.Type.Title(), status, p.Detail, p.Line, p.Column, p.Field})
	if err != nil {
		panic(err) // strings and integers always marshal
	}
	body = append(body, '\n')
	h := w.Header()
	maps.Copy(h, p.Header)
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(body)
}
