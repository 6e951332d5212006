package server_test

import (
	"io"
	"log/slog"
	"strings"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/server"
)

// The operator has an address of its own. Clients find nothing of it on theirs, whoever they are.
func TestAdminAddress(t *testing.T) {
	c := newCredentials(t)
	s := start(t, server.Config{Auth: c.Authenticator})
	cl := client(t, "HTTP/1.1")
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline"} {
		if got := send(t, cl, "GET", s.AdminURL()+path, nil); got.status != 200 || got.body == "" {
			t.Errorf("%s on the admin address: %d %s", path, got.status, got.body)
		}
		send(t, cl, "GET", s.url+path, nil, "Authorization", "Bearer "+c.keys["administer"]).problem(t, 404, "not-found")
		// A page that has its own name resolve to this machine, and one of another site.
		for _, host := range []string{"evil.example", "192.0.2.1"} {
			send(t, cl, "GET", s.AdminURL()+path, nil, "Host", host).problem(t, 421, "host-not-allowed")
		}
		send(t, cl, "GET", s.AdminURL()+path, nil, "Sec-Fetch-Site", "cross-site").problem(t, 403, "origin-not-allowed")
	}
	for _, path := range []string{"/", "/events", "/topics", "/topics/a", "/session", "/healthz", "/debug/pprof", "/debug/pprof/none"} {
		send(t, cl, "GET", s.AdminURL()+path, nil).problem(t, 404, "not-found")
	}
	send(t, cl, "POST", s.AdminURL()+"/metrics", strings.NewReader("x")).problem(t, 405, "method-not-allowed")
	if got := s.metrics(t); !strings.Contains(got, "\ntidings_keys_reload_failures_total 0\n") || strings.Contains(got, "tidings_tls_") {
		t.Errorf("the metrics: %s", got)
	}
}

// Without its flag there is no admin address.
func TestAdminAddressIsOffByDefault(t *testing.T) {
	s, err := server.New(server.Config{Addr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.AdminURL() != "" || s.RedirectURL() != "" {
		t.Errorf("there are %q and %q", s.AdminURL(), s.RedirectURL())
	}
}

// Beyond loopback the metrics are for who may administer, and there are no profiles.
func TestAdminAddressBeyondLoopback(t *testing.T) {
	c := newCredentials(t)
	s := start(t, server.Config{Auth: c.Authenticator, AdminAddr: "0.0.0.0:0"})
	admin := "http://127.0.0.1" + s.AdminURL()[strings.LastIndex(s.AdminURL(), ":"):]
	cl := client(t, "HTTP/1.1")
	get := func(path, key string) reply {
		if key == "" {
			return send(t, cl, "GET", admin+path, nil, "Host", "192.0.2.1")
		}
		return send(t, cl, "GET", admin+path, nil, "Host", "192.0.2.1", "Authorization", "Bearer "+c.keys[key])
	}
	get("/metrics", "").problem(t, 401, "unauthenticated")
	get("/metrics", "expired").problem(t, 401, "invalid-credential")
	get("/metrics", "subscribe").problem(t, 403, "not-granted")
	if got := get("/metrics", "administer"); got.status != 200 || !strings.Contains(got.body, "tidings_subscribers") {
		t.Errorf("%d %s", got.status, got.body)
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile", "/debug/pprof/cmdline"} {
		get(path, "administer").problem(t, 404, "not-found")
	}
}

// Whoever floods the admin address takes no place of clients, and a newcomer finds room there, too.
func TestAdminAddressHasItsOwnConnections(t *testing.T) {
	s := startOn(t, server.Config{Limits: server.Limits{Connections: 8, Requests: 8}}, eventlog.NewMemory(nil), hub.Options{})
	mine := dial(t, s.addr)
	answers(t, mine, getPage)
	admin := strings.TrimPrefix(s.AdminURL(), "http://")
	first := dial(t, admin)
	for range 2 * server.SideConnections {
		io.WriteString(dial(t, admin), "GET /metrics HTTP/1.1\r\nHo")
	}
	if !strings.Contains(s.metrics(t), "\ntidings_connections 1\n") {
		t.Error("connections of the operator count as those of clients")
	}
	if !isClosed(t, first) {
		t.Error("the connection that has waited longest is still open")
	}
	if got := answers(t, mine, getPage); got != "HTTP/1.1 200 OK" {
		t.Errorf("a client gets %q", got)
	}
}
