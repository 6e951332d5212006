package server

import (
	"net/http"
	nethttppprof "net/http/pprof"
	"runtime/pprof"
	"time"

	"example.com/tidings/hub"
)

// adminTime is how long a request of the operator may take. A profile takes as many seconds as
// the request asks for.
const adminTime = 2 * time.Minute

// adminHandler answers the operator: with the metrics, and with the profiles of package pprof if
// only this machine reaches the address. There it asks for no credential: who is on the machine can
// do worse. Beyond loopback, who may administer gets the metrics. The checks of the host and of the
// origin keep web pages out.
func (s *Server) adminHandler(h *hub.Hub) http.Handler {
	hosts := s.hosts
	hosts.anyIP = !s.adminLoopback
	st := &site{Server: s, hub: h, hosts: &hosts, routes: map[string]route{}, absent: "There is nothing at this path. The metrics are at /metrics."}
	add := func(path string, handler http.Handler) {
		st.routes[path] = route{methods: map[string]http.Handler{http.MethodGet: handler}, private: true}
	}
	metrics := s.metrics(h)
	if !s.adminLoopback {
		metrics = s.forAdministrators(metrics)
	}
	add("/metrics", metrics)
	if s.adminLoopback {
		const under = "/debug/pprof/"
		add(under, http.HandlerFunc(nethttppprof.Index))
		for _, p := range pprof.Profiles() {
			add(under+p.Name(), nethttppprof.Handler(p.Name()))
		}
		for name, handler := range map[string]http.HandlerFunc{
			"cmdline": nethttppprof.Cmdline, "profile": nethttppprof.Profile, "symbol": nethttppprof.Symbol, "trace": nethttppprof.Trace,
		} {
			add(under+name, handler)
		}
	}
	return s.logged(http.HandlerFunc(st.route))
}
