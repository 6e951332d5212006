package problem_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"example.com/tidings/internal/problem"
)

// The response, byte for byte (RFC 9457, section 3).
func TestProblemIsTheResponse(t *testing.T) {
	for _, tt := range []struct {
		name   string
		p      *problem.Problem
		status int
		body   string
		header http.Header
	}{
		{"all of it", &problem.Problem{Type: problem.InvalidMessage, Detail: `The field "topic" is missing.`, Line: 3, Column: 7, Field: "topic"}, 422,
			`{"type":"urn:tidings:problem:invalid-message","title":"Invalid message","status":422,"detail":"The field \"topic\" is missing.","line":3,"column":7,"field":"topic"}`, nil},
		{"with a reason", problem.EventNotFound.With("It was lost.").Because("lost"), 404,
			`{"type":"urn:tidings:problem:event-not-found","title":"Event not found","status":404,"detail":"It was lost.","reason":"lost"}`, nil},
		{"what is zero is left out", problem.NotFound.With("Nothing."), 404,
			`{"type":"urn:tidings:problem:not-found","title":"Path not found","status":404,"detail":"Nothing."}`, nil},
		{"with a header", problem.MethodNotAllowed.Withf("%s only.", "GET").Set("Allow", "GET").About("x"), 405,
			`{"type":"urn:tidings:problem:method-not-allowed","title":"Method not allowed","status":405,"detail":"GET only.","field":"x"}`, http.Header{"Allow": {"GET"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			tt.p.ServeHTTP(w, nil)
			if w.Code != tt.status || w.Body.String() != tt.body+"\n" {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, tt.status, tt.body)
			}
			want := http.Header{"Content-Type": {"application/problem+json"}, "Cache-Control": {"no-store"}}
			for name, values := range tt.header {
				want[name] = values
			}
			for name, values := range want {
				if got := w.Header()[name]; !slices.Equal(got, values) {
					t.Errorf("%s: %q, want %q", name, got, values)
				}
			}
			if got := tt.p.Error(); got != tt.p.Type.URI()+": "+tt.p.Detail {
				t.Errorf("as an error: %s", got)
			}
		})
	}
}

// ServeHTTP overwrites a header that a handler has set before, if the problem
// has another value for it.
func TestProblemOverwritesHeaders(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Cache-Control", "max-age=60")
	problem.Stopping.With("Wait.").ServeHTTP(w, nil)
	if h := w.Header(); h.Get("Content-Type") != "application/problem+json" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", h)
	}
}

func TestProblemIsAnError(t *testing.T) {
	var err error = problem.Forbidden.With("No.")
	if p, ok := errors.AsType[*problem.Problem](err); !ok || p.Type != problem.Forbidden {
		t.Errorf("got %v", p)
	}
}

func TestTypesAreInOrderAndDistinct(t *testing.T) {
	all := problem.Types()
	if !slices.IsSortedFunc(all, func(a, b problem.Type) int { return a.Status() - b.Status() }) {
		t.Error("the types are not in the order of their statuses")
	}
	seen := map[string]bool{}
	for _, p := range all {
		uri := p.URI()
		if seen[uri] || uri == "urn:tidings:problem:" || strings.Trim(uri, "abcdefghijklmnopqrstuvwxyz:-") != "" || p.Title() == "" || http.StatusText(p.Status()) == "" {
			t.Errorf("%s, %d, %q", uri, p.Status(), p.Title())
		}
		seen[uri] = true
	}
}

// A credential that a client has put where it does not belong is in no problem.
func TestProblemHasNoCredentials(t *testing.T) {
	const key = "tdk_shop-2_uVx0cM1-_pQ3vZ8kq0hG1n2m3b4v5c6x7z8a9s0d1f2"
	for _, p := range []*problem.Problem{
		problem.NotFound.With("There is no " + key + "."), problem.NotFound.Withf("There is no %s.", key), problem.NotFound.With("").About(key),
	} {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, nil)
		if got := w.Body.String() + p.Error(); strings.Contains(got, key[11:]) || !strings.Contains(got, "(credential)") {
			t.Errorf("the problem has the credential: %s", got)
		}
	}
}
