package server

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"example.com/tidings/internal/request"
)

// redirectTime is how long a request that is redirected may take.
const redirectTime = 2 * time.Second

// redirect answers each request with the same URL by HTTPS, of a host that the server answers to.
func (s *Server) redirect(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["X-Content-Type-Options"] = nosniff
	h.Set("Connection", "close")
	if !s.hosts.allows(r.Host) {
		request.Refuse(w, r, s.hosts.refuse(r))
		return
	}
	// The opaque part of a URL is left out: it would continue the host's name.
	to := url.URL{Scheme: "https", Host: s.secureHost(r.Host), Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	request.Refuse(w, r, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h.Set("Location", to.String())
		h.Set("Content-Length", "0")
		w.WriteHeader(http.StatusPermanentRedirect)
	}))
}

// secureHost returns the host, with its port, under which HTTPS has what a Host header names.
func (s *Server) secureHost(host string) string {
	name := hostname(host)
	if public, ok := strings.CutPrefix(s.cfg.PublicURL, "https://"); ok && hostname(public) == name {
		return public
	}
	port := s.listener.Addr().(*net.TCPAddr).Port
	if port != 443 {
		return net.JoinHostPort(name, strconv.Itoa(port))
	}
	if strings.Contains(name, ":") {
		return "[" + name + "]"
	}
	return name
}
