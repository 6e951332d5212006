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

// Paced returns the listener that Run uses, with freeMemory in place of
// debug.FreeOSMemory.
func Paced(l net.Listener, freeMemory func()) net.Listener {
	p := newPacedListener(l)
	p.giveBack.release = freeMemory
	return p
}

// The limits of giveBack.
const (
	ManyConnections = manyConnections
	QuietFor        = quietFor
)
