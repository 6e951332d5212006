package server

import (
	"net/http"

	"example.com/tidings/hub"
)

// ShutdownGrace is shutdownGrace.
const ShutdownGrace = shutdownGrace

// HTTP returns the http.Server that Run runs for h.
func (s *Server) HTTP(h *hub.Hub) *http.Server {
	s.use(h)
	return s.http
}
