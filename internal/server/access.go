package server

import (
	"errors"
	"net/http"

	"example.com/tidings/hub/httpapi"
	"example.com/tidings/internal/problem"
)

// authorize decides, for every route of the API and for the seed's feed, whether
// the client may do what it asks for; an error that is an http.Handler answers.
// Everyone may whom the host and origin policies let through: there are no
// identities yet, and this is their place.
func authorize(*http.Request, httpapi.Access) error { return nil }

// refuse answers where authorize does not allow the seed's feed.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var answer interface {
		error
		http.Handler
	}
	if errors.As(err, &answer) {
		answer.ServeHTTP(w, r)
		return
	}
	s.log.WarnContext(r.Context(), "a request was not allowed", "path", r.URL.Path, "error", err)
	problem.Forbidden.With("You may not do this here.").ServeHTTP(w, r)
}
