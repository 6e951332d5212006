package server

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"example.com/tidings/internal/problem"
)

// A hostPolicy decides which host names the server answers to. Without it, any web
// site could read a server on loopback by resolving its own name to 127.0.0.1 (DNS
// rebinding). The browser takes the server for the site's own origin: only the Host
// header shows the difference.
type hostPolicy struct {
	names map[string]bool // as hostname returns them; IP addresses in their canonical form
	anyIP bool            // DNS rebinding needs a name
}

// newHostPolicy checks the names given by --allow-host.
func newHostPolicy(names []string) (hostPolicy, error) {
	p := hostPolicy{names: make(map[string]bool, len(names))}
	for _, given := range names {
		name := strings.TrimSuffix(strings.ToLower(strings.TrimSpace(given)), ".")
		if ip, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
			p.names[ip.String()] = true
			continue
		}
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" {
			return p, fmt.Errorf("--allow-host %q: want a host name or an IP address, without a port, as in tidings.example.org", given)
		}
		p.names[name] = true
	}
	return p, nil
}

// allows reports whether a request may have this Host header, with any port.
func (p *hostPolicy) allows(host string) bool {
	name := hostname(host)
	if ip, err := netip.ParseAddr(name); err == nil {
		if p.anyIP || loopbackIP(ip) {
			return true
		}
		name = ip.String()
	}
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || p.names[name] // RFC 6761, section 6.3
}

// hostname returns the host of a Host header, in lower case, without port,
// brackets and final dot.
func hostname(hostport string) string {
	return strings.TrimSuffix(strings.ToLower((&url.URL{Host: hostport}).Hostname()), ".")
}

func (p *hostPolicy) refuse(r *http.Request) *problem.Problem {
	name := hostname(r.Host)
	if ip, err := netip.ParseAddr(name); err == nil {
		name = ip.String()
	}
	if name == "" {
		return problem.HostNotAllowed.With("The request has no Host header. Send one that names this server, such as localhost.")
	}
	return problem.HostNotAllowed.Withf("This server does not answer to the name %q. If that is one of its names, start it with --allow-host %s. "+
		"On the same machine, localhost works, too.", name, name)
}
