package server

import (
	"net/http"

	"example.com/tidings/hub/httpapi"
	"example.com/tidings/internal/request"
)

// authorize asks Config.Authorize about a request to a route outside the API. It returns
// nil, or a refusal, which is an http.Handler.
func (s *Server) authorize(r *http.Request, access httpapi.Access) error {
	_, err := s.ask(r, access)
	return err
}

// ask is authorize, and also returns who asks.
func (s *Server) ask(r *http.Request, access httpapi.Access) (httpapi.Decision, error) {
	if s.cfg.Authorize == nil {
		return httpapi.Anyone, nil
	}
	return httpapi.Ask(s.conns.hub, s.log, r, access, s.cfg.Authorize)
}

// An errorHandler answers a request, or returns an error that is an http.Handler and
// answers it instead.
type errorHandler func(http.ResponseWriter, *http.Request) error

func (h errorHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h(w, r); err != nil {
		request.Refuse(w, r, err.(http.Handler))
	}
}
