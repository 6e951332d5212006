package server_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tidings/internal/auth"
	"example.com/tidings/internal/certs"
	"example.com/tidings/internal/certs/certstest"
	"example.com/tidings/internal/server"
	"example.com/tidings/topics"
)

func TestNewRefusesBadSettings(t *testing.T) {
	tests := []struct {
		name string
		cfg  server.Config
		says string
	}{
		{"no port", server.Config{Addr: "127.0.0.1"}, "HOST:PORT"},
		{"a port that is too large", server.Config{Addr: "127.0.0.1:65536"}, "HOST:PORT"},
		{"a port by name", server.Config{Addr: "127.0.0.1:http"}, "HOST:PORT"},
		{"an IPv6 address without brackets", server.Config{Addr: "::1:80:x"}, "HOST:PORT"},
		{"a URL", server.Config{Addr: "http://127.0.0.1:80"}, "HOST:PORT"},
		{"an admin address without a port", server.Config{AdminAddr: "localhost"}, "--admin-addr"},
		{"a redirect without a port", server.Config{HTTPRedirect: "localhost"}, "--http-redirect"},
		{"a redirect to no HTTPS", server.Config{HTTPRedirect: ":80"}, "--tls-cert"},
		{"a host with a port", server.Config{AllowHosts: []string{"example.org:80"}}, `"example.org:80"`},
		{"a host that is a URL", server.Config{AllowHosts: []string{"http://example.org"}}, "--allow-host"},
		{"a host with a wildcard", server.Config{AllowHosts: []string{"*"}}, "--allow-host"},
		{"a host that is empty", server.Config{AllowHosts: []string{""}}, "--allow-host"},
		{"any origin", server.Config{AllowOrigins: []string{"*"}}, "any web site"},
		{"the null origin", server.Config{AllowOrigins: []string{"null"}}, "not an origin"},
		{"an origin without a scheme", server.Config{AllowOrigins: []string{"localhost:5173"}}, "not an origin"},
		{"an origin that is a name", server.Config{AllowOrigins: []string{"example.org"}}, "not an origin"},
		{"an origin without a host", server.Config{AllowOrigins: []string{"http://"}}, "not an origin"},
		{"an origin with only a port", server.Config{AllowOrigins: []string{"http://:80"}}, "not an origin"},
		{"an origin with a final slash", server.Config{AllowOrigins: []string{"http://localhost:5173/"}}, "no path"},
		{"an origin with a query", server.Config{AllowOrigins: []string{"http://localhost?"}}, "no path, query"},
		{"an origin with a fragment", server.Config{AllowOrigins: []string{"http://localhost#"}}, "or fragment"},
		{"an origin with a user", server.Config{AllowOrigins: []string{"http://me@localhost"}}, "no user"},
		{"an origin with a wildcard", server.Config{AllowOrigins: []string{"https://*.example.org"}}, "no wildcard"},
		{"an origin with half a port", server.Config{AllowOrigins: []string{"http://localhost:"}}, "port is missing"},
		{"one bad origin of several", server.Config{AllowOrigins: []string{"http://localhost:5173", "x"}}, `"x"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := server.New(tt.cfg)
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, tt.says)
			}
		})
	}
}

// listenOn returns the error of Listen for a configuration.
func listenOn(t *testing.T, cfg server.Config) error {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return s.Listen(t.Context())
}

func TestListenRefusesAddressesBeyondLoopback(t *testing.T) {
	answer(t, map[string][][4]byte{
		"local.test.":  {{127, 0, 0, 1}},
		"remote.test.": {{192, 0, 2, 1}},
		"mixed.test.":  {{127, 0, 0, 1}, {192, 0, 2, 1}},
	})
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[2001:db8::1]:0", "remote.test:0", "mixed.test:0"} {
		err := listenOn(t, server.Config{Addr: addr})
		if _, ok := errors.AsType[*server.NotLoopbackError](err); !ok {
			t.Errorf("%s: %v, want a refusal", addr, err)
			continue
		}
		for _, says := range []string{addr, "--insecure-anonymous", "TIDINGS_INSECURE_ANONYMOUS", server.DefaultAddr} {
			if !strings.Contains(err.Error(), says) {
				t.Errorf("%s: the refusal does not say %q: %v", addr, says, err)
			}
		}
	}
	for _, addr := range []string{"0.0.0.0:0", "[::]:0", "192.0.2.1:0", "remote.test:0", "mixed.test:0"} {
		err := listenOn(t, server.Config{Addr: "127.0.0.1:0", AdminAddr: addr})
		if _, ok := errors.AsType[*server.NotLoopbackError](err); !ok || !strings.Contains(err.Error(), "--admin-addr "+addr) {
			t.Errorf("the admin address %s: %v, want a refusal", addr, err)
		}
	}
	for _, addr := range []string{":0", "localhost:0"} { // without a host, it is 127.0.0.1
		if err := listenOn(t, server.Config{Addr: "127.0.0.1:0", AdminAddr: addr}); err != nil {
			t.Errorf("the admin address %s: %v", addr, err)
		}
	}
	for _, addr := range []string{"127.0.0.1:0", "127.0.0.2:0", "localhost:0", "local.test:0"} {
		if err := listenOn(t, server.Config{Addr: addr}); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	for _, addr := range []string{":0", "0.0.0.0:0"} {
		if err := listenOn(t, server.Config{Addr: addr, InsecureAnonymous: true}); err != nil {
			t.Errorf("%s with --insecure-anonymous: %v", addr, err)
		}
	}
}

// One line warns of what others can do with an address beyond loopback, and of keys that travel in
// clear.
func TestListenWarnsOfWhatOthersCanDo(t *testing.T) {
	credentials := newCredentials(t).Authenticator
	granted, err := auth.New(auth.Options{AnonymousSubscribe: topics.MustFilters("public.**")})
	if err != nil {
		t.Fatal(err)
	}
	ca, dir := certstest.New(t), t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca.Write(t, cert, key, 1, time.Now().Add(time.Hour))
	pair, err := certs.Load(cert, key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	const here, everywhere = "127.0.0.1:0", "0.0.0.0:0"
	for name, tt := range map[string]struct {
		cfg  server.Config
		want string // "" for none
	}{
		"open to all":            {server.Config{Addr: everywhere, InsecureAnonymous: true}, "anyone who reaches this address can read and publish everything"},
		"only --anonymous":       {server.Config{Addr: everywhere, InsecureAnonymous: true, Auth: granted}, "anyone who reaches this address can do what --anonymous allows"},
		"keys":                   {server.Config{Addr: everywhere, Auth: credentials}, "keys and tokens travel in clear to this address"},
		"keys behind HTTP":       {server.Config{Addr: everywhere, Auth: credentials, PublicURL: "http://hub.example.org"}, "keys and tokens travel in clear to this address"},
		"keys behind HTTPS":      {server.Config{Addr: everywhere, Auth: credentials, PublicURL: "https://hub.example.org"}, ""},
		"keys over TLS":          {server.Config{Addr: everywhere, Auth: credentials, TLS: pair}, ""},
		"keys on loopback":       {server.Config{Addr: here, Auth: credentials, AdminAddr: ":0"}, ""},
		"metrics for all":        {server.Config{Addr: here, InsecureAnonymous: true, AdminAddr: everywhere}, "anyone who reaches this address can read the metrics"},
		"metrics for nobody":     {server.Config{Addr: here, InsecureAnonymous: true, AdminAddr: everywhere, Auth: granted}, "nobody can read the metrics at this address"},
		"metrics for the admin":  {server.Config{Addr: here, Auth: credentials, AdminAddr: everywhere}, "the keys and tokens of those who read the metrics travel in clear"},
		"metrics on one machine": {server.Config{Addr: here, AdminAddr: ":0"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			tt.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			s, err := server.New(tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Listen(t.Context()); err != nil {
				t.Fatal(err)
			}
			if lines := strings.Count(log.String(), "\n"); !strings.Contains(log.String(), tt.want) || (lines == 1) != (tt.want != "") || lines > 1 {
				t.Errorf("the log is %q, want one line with %q", &log, tt.want)
			}
		})
	}
}

func TestListenErrorsAreOneClearLine(t *testing.T) {
	answer(t, nil)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for addr, says := range map[string]string{
		busy.Addr().String(): "another program listens there",
		"192.0.2.1:0":        "does not have that address",
		"nowhere.test:0":     `"nowhere.test" is not known`,
	} {
		err := listenOn(t, server.Config{Addr: addr, InsecureAnonymous: true})
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), addr) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line with %q", addr, err, says)
		}
	}
}

// A name that has a loopback address when it is checked, and another one when it is bound, is
// refused.
func TestListenRefusesANameThatMoves(t *testing.T) {
	var asked atomic.Int32
	answerWith(t, func(name string, isA bool) ([][4]byte, bool) {
		if isA && asked.Add(1) > 1 {
			return [][4]byte{{0, 0, 0, 0}}, true
		}
		return [][4]byte{{127, 0, 0, 1}}, true
	})
	err := listenOn(t, server.Config{Addr: "moving.test:0"})
	if _, ok := errors.AsType[*server.NotLoopbackError](err); !ok || asked.Load() < 2 {
		t.Errorf("after %d questions: %v, want a refusal", asked.Load(), err)
	}
}

// answer replaces the system's DNS server by one in memory, which resolves names
// to these addresses.
func answer(t *testing.T, names map[string][][4]byte) {
	answerWith(t, func(name string, _ bool) (ips [][4]byte, known bool) {
		ips, known = names[name]
		return ips, known
	})
}

// answerWith is answer with a function that returns the addresses of a name, and whether it is
// known. isA says whether they are asked for.
func answerWith(t *testing.T, resolve func(name string, isA bool) (ips [][4]byte, known bool)) {
	system := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = system })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe() // not a net.PacketConn: messages have the length prefix of TCP
		go func() {
			defer server.Close()
			for {
				head := make([]byte, 2)
				if _, err := io.ReadFull(server, head); err != nil {
					return
				}
				query := make([]byte, int(head[0])<<8|int(head[1]))
				if _, err := io.ReadFull(server, query); err != nil {
					return
				}
				reply := dnsReply(query, resolve)
				server.Write(append([]byte{byte(len(reply) >> 8), byte(len(reply))}, reply...))
			}
		}()
		return client, nil
	}}
}

// dnsReply answers a query for A records, and any other query with no record (RFC
// 1035, section 4.1).
func dnsReply(query []byte, resolve func(name string, isA bool) ([][4]byte, bool)) []byte {
	const header, typeA, classIN = 12, 1, 1
	end, name := header, ""
	for query[end] != 0 {
		next := end + 1 + int(query[end])
		name += string(query[end+1:next]) + "."
		end = next
	}
	isA := query[end+2] == typeA
	ips, known := resolve(name, isA)
	reply := slices.Clone(query[:end+5]) // the header and the question
	clear(reply[2:header])
	reply[2] = 0x84 // an authoritative response
	reply[5] = 1    // question
	if !known {
		reply[3] = 3 // no such name
	} else if isA {
		reply[7] = byte(len(ips))
		for _, ip := range ips {
			reply = append(reply, 0xc0, header, 0, typeA, 0, classIN, 0, 0, 0, 0, 0, 4) // the question's name, a TTL of 0
			reply = append(reply, ip[:]...)
		}
	}
	return reply
}
