// Package problem defines the errors of the HTTP API and their responses. A
// response is RFC 9457 problem details, with a type from one list.
package problem

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"

	"example.com/tidings/internal/quote"
)

// A Problem is the refusal of one request. As an http.Handler, it writes the
// response (RFC 9457). A Problem must not change once it is shared.
type Problem struct {
	Type   Type
	Detail string      // tells the user what to do; never the text of an internal error
	Header http.Header // set on the response

	// Extension members (RFC 9457, section 3.2). A member is omitted when it is
	// zero.
	Line, Column int    // position in the body, from 1; columns count characters
	Field        string // the field of the message, or the parameter of the URL
	Reason       string // why an event is gone, as the reason of a gap
}

// With returns a problem of this type with a detail. If that repeats a credential of the client, it
// is taken out: problems end up in logs.
func (t Type) With(detail string) *Problem { return &Problem{Type: t, Detail: quote.Redact(detail)} }

// Withf returns a problem of this type with a formatted detail.
func (t Type) Withf(format string, args ...any) *Problem {
	return t.With(fmt.Sprintf(format, args...))
}

func (p *Problem) Error() string { return p.Type.URI() + ": " + p.Detail }

// Set sets a header of the response and returns p.
func (p *Problem) Set(key, value string) *Problem {
	if p.Header == nil {
		p.Header = make(http.Header)
	}
	p.Header.Set(key, value)
	return p
}

// About names the field or parameter that is wrong, and returns p.
func (p *Problem) About(field string) *Problem {
	p.Field = quote.Redact(field)
	return p
}

// Because says why an event is gone, and returns p.
func (p *Problem) Because(reason string) *Problem {
	p.Reason = reason
	return p
}

// ServeHTTP writes the problem as the response.
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
		Reason string `json:"reason,omitempty"`
	}{p.Type.URI(), p.Type.Title(), status, p.Detail, p.Line, p.Column, p.Field, p.Reason})
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
