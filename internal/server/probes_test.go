package server_test

import (
	"testing"

	"example.com/tidings/internal/server"
)

// A probe needs neither a host name nor a credential, and tells only yes or no.
func TestProbes(t *testing.T) {
	s := start(t, server.Config{Auth: newCredentials(t).Authenticator})
	c := client(t, "HTTP/1.1")
	probe := func(path string, want int) {
		t.Helper()
		for _, method := range []string{"GET", "HEAD"} {
			r := send(t, c, method, s.url+path, nil, "Host", "10.1.2.3.elsewhere")
			if r.status != want || len(r.body) > len("not ready\n") || r.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: %d %v %q", method, path, r.status, r.header, r.body)
			}
		}
	}
	probe("/healthz", 200)
	probe("/readyz", 200)
	s.hub.Drain()
	probe("/healthz", 200)
	probe("/readyz", 503)
	send(t, c, "POST", s.url+"/healthz", nil, "Host", "elsewhere").problem(t, 421, "host-not-allowed")
}
