package server

import (
	"net"
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

// Paced returns what Run accepts connections from, with a function in place of
// debug.FreeOSMemory.
func Paced(l net.Listener, freeMemory func()) net.Listener {
	p := newPacedListener(l)
	p.giveBack.release = freeMemory
	return p
}

// When memory is given back.
const (
	ManyConnections = manyConnections
	QuietFor        = quietFor
)
