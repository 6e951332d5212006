package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"example.com/tidings/internal/server"
)

func TestRoutes(t *testing.T) {
	tests := []struct {
		method, path string
		status       int
		problem      string
		allow        string
	}{
		{"GET", "/", 200, "", ""},
		{"HEAD", "/", 200, "", ""},
		{"POST", "/", 405, "method-not-allowed", "GET, HEAD"},
		{"GET", "/app.js", 200, "", ""},
		{"PUT", "/app.js", 405, "method-not-allowed", "GET, HEAD"},
		{"GET", "/messages", 405, "method-not-allowed", "POST"},
		{"HEAD", "/messages", 405, "", "POST"},
		{"DELETE", "/messages", 405, "method-not-allowed", "POST"},
		{"OPTIONS", "/messages", 405, "method-not-allowed", "POST"},
		{"PATCH", "/messages", 405, "method-not-allowed", "POST"},
		{"POST", "/events", 405, "method-not-allowed", "GET, HEAD"},
		{"OPTIONS", "/events", 405, "method-not-allowed", "GET, HEAD"},
		{"BREW", "/events", 405, "method-not-allowed", "GET, HEAD"},
		{"GET", "/topics", 200, "", ""},
		{"HEAD", "/topics", 200, "", ""},
		{"DELETE", "/topics", 405, "method-not-allowed", "GET, HEAD"},
		{"GET", "/topics/orders", 404, "topic-not-found", ""},
		{"POST", "/topics/orders", 201, "", ""},
		{"DELETE", "/topics/orders", 405, "method-not-allowed", "GET, HEAD, POST"},
		{"GET", "/topics/orders", 200, "", ""},
		{"GET", "/topics/orders/events", 200, "", ""},
		{"GET", "/history?topic=orders&order=desc", 200, "", ""},
		{"HEAD", "/history", 200, "", ""},
		{"POST", "/history", 405, "method-not-allowed", "GET, HEAD"},
		{"GET", "/historyandmore", 404, "not-found", ""},
		{"GET", "/position", 200, "", ""},
		{"PUT", "/position", 405, "method-not-allowed", "GET, HEAD"},
		{"GET", "/batch", 405, "method-not-allowed", "POST"},
		{"GET", "/topicsandmore", 404, "not-found", ""},
		{"GET", "/nothing", 404, "not-found", ""},
		{"HEAD", "/nothing", 404, "", ""},
		{"POST", "/nothing", 404, "not-found", ""},
		{"GET", "/events/", 404, "not-found", ""},
		{"GET", "//events", 404, "not-found", ""},
		{"GET", "/x/../events", 404, "not-found", ""},
		{"GET", "/index.html", 404, "not-found", ""},
		{"GET", "/page/app.js", 404, "not-found", ""},
		{"GET", "/favicon.ico", 404, "not-found", ""},
	}
	for _, protocol := range protocols {
		s := start(t, server.Config{})
		c := client(t, protocol)
		for _, tt := range tests {
			t.Run(protocol+" "+tt.method+" "+tt.path, func(t *testing.T) {
				var body io.Reader
				if tt.method == "POST" {
					body = strings.NewReader("{}")
				}
				r := send(t, c, tt.method, s.url+tt.path, body)
				if tt.problem != "" {
					r.problem(t, tt.status, tt.problem)
				}
				if r.status != tt.status || r.header.Get("Allow") != tt.allow {
					t.Errorf("got %d with Allow %q, want %d with %q", r.status, r.header.Get("Allow"), tt.status, tt.allow)
				}
				if tt.method == "HEAD" && r.body != "" {
					t.Errorf("HEAD has a body: %q", r.body)
				}
				for name, want := range map[string]string{
					"X-Content-Type-Options":       "nosniff",
					"Cross-Origin-Resource-Policy": "same-origin",
					"Vary":                         "Origin",
				} {
					if got := r.header.Get(name); got != want {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
			})
		}
	}
}

// The server listens on loopback, with --allow-host tidings.example.org and
// --allow-host 2001:db8::7. hosts says which names it answers to.
func TestHost(t *testing.T) {
	hosts := map[string]bool{
		"localhost":                 true,
		"localhost:80":              true,
		"LOCALHOST.":                true,
		"feed.localhost:8080":       true,
		"127.0.0.1":                 true,
		"127.0.0.1:8080":            true,
		"127.255.0.3:1":             true,
		"[::1]":                     true,
		"[::1]:8080":                true,
		"[0:0:0:0:0:0:0:1]:8080":    true,
		"[::ffff:127.0.0.1]":        true,
		"tidings.example.org":       true,
		"Tidings.Example.Org.:8443": true,
		"[2001:db8:0:0::7]:80":      true,

		"example.org":                 false,
		"evil.example:8080":           false,
		"x.tidings.example.org":       false,
		"xtidings.example.org":        false,
		"localhost.evil.example":      false,
		"evillocalhost":               false,
		".localhost.evil.example":     false,
		"127.0.0.1.evil.example":      false,
		"127.0.0.1:8080.evil.example": false,
		"0.0.0.0":                     false,
		"192.0.2.1":                   false,
		"10.127.0.1:8080":             false,
		"[::]:8080":                   false,
		"[2001:db8::8]":               false,
		"2130706433":                  false,
		"127.1":                       false,
	}
	for _, protocol := range protocols {
		s := start(t, server.Config{AllowHosts: []string{"Tidings.example.org", " 2001:db8::7"}})
		c := client(t, protocol)
		for host, ok := range hosts {
			t.Run(protocol+" "+host, func(t *testing.T) {
				for _, path := range []string{"/", "/events", "/nothing"} {
					r := send(t, c, "HEAD", s.url+path, nil, "Host", host)
					if got := r.status != 421; got != ok {
						t.Errorf("HEAD %s: %d, want the host to be allowed: %t", path, r.status, ok)
					}
				}
				r := send(t, c, "POST", s.url+"/messages", strings.NewReader(`{"user":"a","text":"b"}`), "Host", host, "Content-Type", "application/json")
				if ok && r.status != 200 {
					t.Errorf("POST /messages: %d", r.status)
				}
				if !ok {
					p := r.problem(t, 421, "host-not-allowed")
					if got := r.header.Get("Vary"); got != "Origin" {
						t.Errorf("Vary: %q", got)
					}
					if !strings.Contains(p.Detail, "--allow-host") {
						t.Errorf("the detail does not say what to do: %s", p.Detail)
					}
				}
			})
		}
	}
}

func TestOptionsOfTheWholeServer(t *testing.T) {
	s := start(t, server.Config{})
	conn := dial(t, s.addr)
	for host, want := range map[string]int{"localhost": 404, "evil.example": 421} {
		if _, err := conn.Write([]byte("OPTIONS * HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 0\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("OPTIONS * of %s: %s, want %d", host, res.Status, want)
		}
	}
}

func TestRequestWithoutAHost(t *testing.T) {
	s := start(t, server.Config{})
	conn := dial(t, s.addr)
	if _, err := conn.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 20)
	if _, err := conn.Read(buf); err != nil || !strings.HasPrefix(string(buf), "HTTP/1.0 421 ") {
		t.Errorf("got %q, %v", buf, err)
	}
}

// Beyond loopback, the server answers to any IP address unless names are listed. It
// never answers to any name: by rebinding its name, a web site outside could reach a
// server that only its visitors can reach.
func TestHostBeyondLoopback(t *testing.T) {
	for _, tt := range []struct {
		name  string
		allow []string
		hosts map[string]int
	}{
		{"no --allow-host", nil, map[string]int{"example.org": 421, "192.0.2.1:8080": 200, "[2001:db8::1]:80": 200, "localhost": 200}},
		{"--allow-host tidings.example.org", []string{"tidings.example.org"},
			map[string]int{"example.org": 421, "192.0.2.1:8080": 421, "localhost": 200, "tidings.example.org:80": 200}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, server.Config{Addr: "0.0.0.0:0", InsecureAnonymous: true, AllowHosts: tt.allow})
			_, port, err := net.SplitHostPort(s.addr)
			if err != nil {
				t.Fatal(err)
			}
			for host, want := range tt.hosts {
				if r := send(t, client(t, "HTTP/1.1"), "GET", "http://127.0.0.1:"+port+"/", nil, "Host", host); r.status != want {
					t.Errorf("%s: %d, want %d", host, r.status, want)
				}
			}
		})
	}
}

// If a GET announces a body but does not send it, its stream would not begin. If
// nobody reads the body, the server would not notice that the client leaves.
func TestGETWithABodyIsRefused(t *testing.T) {
	s := start(t, server.Config{})
	for _, path := range []string{"/events", "/", "/topics", "/topics/orders/events", "/history", "/position"} {
		send(t, client(t, "HTTP/1.1"), "GET", s.url+path, strings.NewReader("x")).problem(t, 400, "unexpected-body")
	}
	conn := dial(t, s.addr)
	if _, err := io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, len("HTTP/1.1 400"))
	if _, err := io.ReadFull(conn, head); err != nil || string(head) != "HTTP/1.1 400" {
		t.Errorf("an announced body: %q, %v", head, err)
	}
}

// A server on an IPv4 address reports that address.
func TestIPv4AddressListensOnIPv4(t *testing.T) {
	s := start(t, server.Config{Addr: "0.0.0.0:0", InsecureAnonymous: true})
	if !strings.HasPrefix(s.addr, "0.0.0.0:") {
		t.Errorf("listens on %s", s.addr)
	}
}

// --insecure-anonymous changes nothing on a loopback address.
func TestInsecureAnonymousOnLoopbackOpensNothing(t *testing.T) {
	s := start(t, server.Config{InsecureAnonymous: true})
	send(t, client(t, "HTTP/1.1"), "GET", s.url+"/", nil, "Host", "evil.example").problem(t, 421, "host-not-allowed")
}

func TestOrigin(t *testing.T) {
	const own, allowed, foreign = "http://localhost:8080", "http://localhost:5173", "https://evil.example"
	tests := []struct {
		name   string
		origin string
		site   string // Sec-Fetch-Site
		post   int    // the status of POST /messages
		events int    // the status of HEAD /events and GET /topics
		page   int    // the status of GET /
		shared bool   // the origin may read the responses (CORS)
	}{
		{name: "curl", post: 200, events: 200, page: 200},
		{name: "its own page", origin: own, site: "same-origin", post: 200, events: 200, page: 200},
		{name: "its own page, in an old browser", origin: own, post: 200, events: 200, page: 200},
		{name: "typed into the address bar", site: "none", post: 200, events: 200, page: 200},
		{name: "an allowed page of the same site", origin: allowed, site: "same-site", post: 200, events: 200, page: 200, shared: true},
		{name: "an allowed page of another site", origin: allowed, site: "cross-site", post: 200, events: 200, page: 200, shared: true},
		{name: "an allowed page, in an old browser", origin: allowed, post: 200, events: 200, page: 200, shared: true},
		{name: "a foreign page", origin: foreign, site: "cross-site", post: 403, events: 403, page: 200},
		{name: "a foreign page, in an old browser", origin: foreign, post: 403, events: 403, page: 200},
		{name: "a foreign page's image or link", site: "cross-site", post: 403, events: 403, page: 200},
		{name: "another port of this machine", origin: "http://localhost:3000", site: "same-site", post: 403, events: 403, page: 200},
		{name: "a sandboxed page", origin: "null", site: "cross-site", post: 403, events: 403, page: 200},
		{name: "a sandboxed page, in an old browser", origin: "null", post: 403, events: 403, page: 200},
		{name: "an origin that begins like an allowed one", origin: allowed + "0", site: "cross-site", post: 403, events: 403, page: 200},
		{name: "an allowed origin with another scheme", origin: "https://localhost:5173", site: "cross-site", post: 403, events: 403, page: 200},
	}
	s := start(t, server.Config{AllowOrigins: []string{"HTTP://LocalHost:5173", " https://feed.example:443"}})
	c := client(t, "HTTP/1.1")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			header := []string{"Host", "localhost:8080"}
			if tt.origin != "" {
				header = append(header, "Origin", tt.origin)
			}
			if tt.site != "" {
				header = append(header, "Sec-Fetch-Site", tt.site)
			}
			check := func(what string, r reply, status int) {
				t.Helper()
				if r.status != status {
					t.Errorf("%s: %d, want %d", what, r.status, status)
				}
				want := ""
				if tt.shared {
					want = tt.origin
				}
				if got := r.header.Get("Access-Control-Allow-Origin"); got != want {
					t.Errorf("%s: Access-Control-Allow-Origin %q, want %q", what, got, want)
				}
				exposed := ""
				if tt.shared {
					exposed = "Location, ETag, Retry-After, Idempotency-Window"
				}
				if got := r.header.Get("Access-Control-Expose-Headers"); got != exposed {
					t.Errorf("%s: Access-Control-Expose-Headers %q, want %q", what, got, exposed)
				}
				credentials := ""
				if tt.shared {
					credentials = "true"
				}
				if r.header.Get("Vary") != "Origin" || r.header.Get("Access-Control-Allow-Credentials") != credentials {
					t.Errorf("%s: headers %v", what, r.header)
				}
			}
			posted := send(t, c, "POST", s.url+"/messages", strings.NewReader(`{"user":"a","text":"b"}`), append(header, "Content-Type", "application/json")...)
			check("POST /messages", posted, tt.post)
			if tt.post == 403 {
				p := posted.problem(t, 403, "origin-not-allowed")
				if !strings.Contains(p.Detail, "--allow-origin") {
					t.Errorf("the detail does not say what to do: %s", p.Detail)
				}
			}
			check("HEAD /events", send(t, c, "HEAD", s.url+"/events", nil, header...), tt.events)
			check("GET /history", send(t, c, "GET", s.url+"/history?topic=orders", nil, header...), tt.events)
			check("GET /position", send(t, c, "GET", s.url+"/position", nil, header...), tt.events)
			check("GET /topics", send(t, c, "GET", s.url+"/topics", nil, header...), tt.events)
			published := send(t, c, "POST", s.url+"/topics/orders", strings.NewReader("x"), header...)
			if tt.post == 200 {
				check("POST /topics/orders", published, 201)
			} else {
				check("POST /topics/orders", published, tt.post)
			}
			check("GET /", send(t, c, "GET", s.url+"/", nil, header...), tt.page)
			unsafe := send(t, c, "DELETE", s.url+"/nothing", nil, header...)
			if got := unsafe.status == 403; got != (tt.post == 403) {
				t.Errorf("DELETE /nothing: %d; every unsafe method must be refused", unsafe.status)
			}
		})
	}
	t.Run("the default port is left out, as browsers do", func(t *testing.T) {
		r := send(t, c, "HEAD", s.url+"/events", nil, "Origin", "https://feed.example", "Sec-Fetch-Site", "cross-site")
		if r.status != 200 || r.header.Get("Access-Control-Allow-Origin") != "https://feed.example" {
			t.Errorf("got %d, %v", r.status, r.header)
		}
	})
}

func TestPreflight(t *testing.T) {
	s := start(t, server.Config{AllowOrigins: []string{"http://localhost:5173"}})
	c := client(t, "HTTP/1.1")
	ask := func(path, origin, method string, headers ...string) reply {
		more := []string{"Origin", origin, "Sec-Fetch-Site", "same-site", "Access-Control-Request-Method", method}
		for _, names := range headers {
			more = append(more, "Access-Control-Request-Headers", names)
		}
		return send(t, c, "OPTIONS", s.url+path, nil, more...)
	}
	for path, methods := range map[string]string{
		"/messages": "POST", "/events": "GET, HEAD, POST, PUT, DELETE", "/batch": "GET, HEAD, POST, PUT, DELETE",
		"/topics": "GET, HEAD, POST, PUT, DELETE", "/topics/orders": "GET, HEAD, POST, PUT, DELETE", "/app.js": "GET, HEAD",
	} {
		r := ask(path, "http://localhost:5173", "POST", "content-type")
		if r.status != 204 || r.body != "" {
			t.Errorf("%s: %d %q", path, r.status, r.body)
		}
		for name, want := range map[string]string{
			"Access-Control-Allow-Origin":      "http://localhost:5173",
			"Access-Control-Allow-Methods":     methods,
			"Access-Control-Allow-Headers":     apiHeaders,
			"Access-Control-Allow-Credentials": "true",
			"Access-Control-Max-Age":           "600",
			"Vary":                             "Origin",
		} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s: %s: %q, want %q", path, name, got, want)
			}
		}
		r = ask(path, "http://localhost:3000", "POST")
		r.problem(t, 403, "origin-not-allowed")
		if got := r.header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("%s: a foreign page is told Access-Control-Allow-Origin: %s", path, got)
		}
	}
	ask("/nothing", "http://localhost:5173", "GET").problem(t, 404, "not-found")
	// Libraries have headers of their own.
	for want, headers := range map[string][]string{
		"":                                  {"authorization, last-event-id, idempotency-key"},
		", Datastar-Request":                {"datastar-request"},
		", Hx-Request, Hx-Current-Url, X_1": {"hx-request, content-type,hx-current-url", "hx-request ,x_1"},
		", Fine":                            {"a b, \"c\", d:e, é, , fine"},
		manyHeaders("X-%d", 59):             {manyHeaders("x-%d", 1000)},
	} {
		r := ask("/events", "http://localhost:5173", "GET", headers...)
		if got := r.header.Get("Access-Control-Allow-Headers"); got != apiHeaders+want {
			t.Errorf("for %.100q a page may send %.300q, want %.300q", headers, got, apiHeaders+want)
		}
	}
}

// apiHeaders are the request headers that the API knows.
const apiHeaders = "Authorization, Cache-Control, Content-Type, Idempotency-Key, Last-Event-ID"

// manyHeaders returns n names, each after a comma.
func manyHeaders(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ", "+format, i)
	}
	return b.String()
}

// A page of an allowed origin can read why it was refused.
func TestProblemsAreSharedWithAllowedOrigins(t *testing.T) {
	s := start(t, server.Config{AllowOrigins: []string{"http://localhost:5173"}})
	r := send(t, client(t, "HTTP/1.1"), "POST", s.url+"/messages", strings.NewReader("{"), "Origin", "http://localhost:5173", "Content-Type", "application/json")
	r.problem(t, 400, "invalid-json")
	if got := r.header.Get("Access-Control-Allow-Origin"); got != "http://localhost:5173" {
		t.Errorf("Access-Control-Allow-Origin: %q", got)
	}
}
