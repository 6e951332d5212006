package server

import (
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"example.com/tidings/hub"
)

// sideConnections is how many connections a side may have. When there are more, the one that has
// waited longest for its client is closed.
const sideConnections = 32

// A side is an address beside that of the clients: that of the operator, or the one that
// redirects to HTTPS. It has few connections, and takes none from the clients.
type side struct {
	flag     string // of its address
	listener net.Listener
	conns    *connections
	http     *http.Server
}

// newSide returns a side whose requests, with their answers, may take so long.
func (s *Server) newSide(flag string, ln net.Listener, headers, all time.Duration) *side {
	conns := newConnections(Limits{Connections: sideConnections, Requests: sideConnections, Heads: sideConnections * maxHeaderBytes})
	return &side{
		flag: flag, listener: ln, conns: conns,
		http: &http.Server{
			ConnState:                    conns.state,
			ConnContext:                  conns.context,
			ErrorLog:                     log.New(s.warnings, "", 0),
			ReadHeaderTimeout:            headers,
			ReadTimeout:                  all,
			WriteTimeout:                 all,
			IdleTimeout:                  idleTimeout,
			MaxHeaderBytes:               maxHeaderBytes,
			DisableGeneralOptionsHandler: true,
		},
	}
}

// serve answers requests with a handler until the side is closed.
func (d *side) serve(s *Server, handler http.Handler) {
	d.http.Handler = handler
	err := d.http.Serve(&boundedListener{Listener: d.listener, connections: d.conns, warn: func() {
		s.warnings.warn("closing new connections: too many are open", "flag", d.flag)
	}})
	if err != http.ErrServerClosed {
		s.log.Error("an address is not served any more", "flag", d.flag, "error", err)
	}
}

// url returns the address of a side, which may be nil.
func (d *side) url() string {
	if d == nil {
		return ""
	}
	return "http://" + d.listener.Addr().String()
}

// sides returns those that there are.
func (s *Server) sides() (all []*side) {
	for _, d := range []*side{s.admin, s.redirects} {
		if d != nil {
			all = append(all, d)
		}
	}
	return all
}

// serveSides serves the sides until stop is called.
func (s *Server) serveSides(h *hub.Hub) (stop func()) {
	var served sync.WaitGroup
	if d := s.admin; d != nil {
		handler := s.adminHandler(h)
		served.Go(func() { d.serve(s, handler) })
	}
	if d := s.redirects; d != nil {
		served.Go(func() { d.serve(s, http.HandlerFunc(s.redirect)) })
	}
	return func() {
		for _, d := range s.sides() {
			d.http.Close()
		}
		served.Wait()
	}
}
