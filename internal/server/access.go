package server

import (
	"errors"
	"net/http"

	"example.com/tidings/hub/httpapi"
	"example.com/tidings/internal/problem"
)

// authorize asks Config.Authorize where the API does not ask itself, and returns
// how the request is refused, or nil.
func (s *Server) authorize(r *http.Request, access httpapi.Access) http.Handler {
	if s.cfg.Authorize == nil {
		return nil
	}
	err := s.cfg.Authorize(r, access)
	if err == nil {
		return nil
	}
	s.log.InfoContext(r.Context(), "a request was refused", "method", r.Method, "path", r.URL.Path, "action", access.Action, "error", err)
	if refusal, ok := errors.AsType[interface {
		error
		http.Handler
	}](err); ok {
		return refusal
	}
	return problem.Forbidden.Withf("You may not %s here.", access.Action)
}
