package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/stats"
	"example.com/tidings/internal/certs"
	"example.com/tidings/internal/certs/certstest"
	"example.com/tidings/internal/server"
)

// authority returns the one that has signed the certificates of all tests.
var authority = func() func(t *testing.T) *certstest.Authority {
	var once sync.Once
	var a *certstest.Authority
	return func(t *testing.T) *certstest.Authority {
		once.Do(func() { a = certstest.New(t) })
		return a
	}
}()

// A pair is a certificate in files.
type pair struct {
	*certs.Pair
	cert, key string
}

func newPair(t *testing.T) *pair {
	t.Helper()
	dir := t.TempDir()
	p := &pair{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
	authority(t).Write(t, p.cert, p.key, 1, time.Now().Add(time.Hour))
	var err error
	if p.Pair, err = certs.Load(p.cert, p.key, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return p
}

// dialTLS returns a connection after its handshake.
func dialTLS(t *testing.T, addr string, protocols ...string) *tls.Conn {
	t.Helper()
	conn := tls.Client(dial(t, addr), &tls.Config{RootCAs: authority(t).Pool, ServerName: "localhost", NextProtos: protocols})
	conn.SetDeadline(time.Now().Add(patience))
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	return conn
}

// A server with a certificate speaks HTTPS only. Its own page may use the cookie, which is secure.
func TestTLS(t *testing.T) {
	c := newCredentials(t)
	for _, protocol := range []string{h1TLS, h2TLS} {
		t.Run(protocol, func(t *testing.T) {
			s := start(t, server.Config{Auth: c.Authenticator})
			if !strings.HasPrefix(s.url, "https://") {
				t.Fatalf("the server is at %s", s.url)
			}
			cl := client(t, protocol)
			tok := token(t, "ada", time.Hour, map[string]any{"subscribe": []string{"messages"}, "publish": []string{"messages"}})
			got := send(t, cl, "POST", s.url+"/session", nil, "Authorization", "Bearer "+tok)
			cookie := got.header.Get("Set-Cookie")
			if got.status != 200 || !strings.HasPrefix(cookie, "__Host-tidings=") || !strings.Contains(cookie, "; Secure") {
				t.Fatalf("%d %s, the cookie %s", got.status, got.body, cookie)
			}
			cookie, _, _ = strings.Cut(cookie, ";")
			for origin, want := range map[string]int{s.url: 200, "http://" + s.addr: 403, "https://evil.example": 403} {
				if got := send(t, cl, "GET", s.url+"/session", nil, "Cookie", cookie, "Origin", origin); got.status != want {
					t.Errorf("a page of %s gets %d %s, want %d", origin, got.status, got.body, want)
				}
			}
			l := listen(t, cl, s.url, "Cookie", cookie, "Sec-Fetch-Site", "same-origin")
			if want := map[string]string{h1TLS: "HTTP/1.1", h2TLS: "HTTP/2.0"}[protocol]; l.res.Proto != want || l.res.TLS == nil {
				t.Errorf("the stream is one of %s, want %s", l.res.Proto, want)
			}
			for what, want := range map[string]string{
				"tidings_tls_reload_failures_total": "0", "tidings_tls_certificate_not_after_seconds": "", "tidings_tls_handshake_failures_total": "0",
			} {
				if !strings.Contains(s.metrics(t), "\n"+what+" "+want) {
					t.Errorf("the metrics lack %s", what)
				}
			}
		})
	}
}

// Whoever speaks HTTP to the address is told that it speaks HTTPS.
func TestHTTPToTheAddressOfTLS(t *testing.T) {
	s := start(t, server.Config{TLS: newPair(t).Pair})
	conn := dial(t, s.addr)
	io.WriteString(conn, getPage)
	conn.SetReadDeadline(time.Now().Add(patience))
	b, _ := io.ReadAll(conn)
	if !strings.HasPrefix(string(b), "HTTP/1.0 400 ") || !strings.Contains(string(b), "https://") {
		t.Errorf("the answer is %q", b)
	}
}

// The oldest version is TLS 1.2, with the ciphers that HTTP/2 allows.
func TestOldTLSIsRefused(t *testing.T) {
	s := start(t, server.Config{TLS: newPair(t).Pair})
	for name, cfg := range map[string]*tls.Config{
		"TLS 1.1": {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, // without the first, the client refuses itself
		"CBC":     {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}},
	} {
		cfg.RootCAs, cfg.ServerName = authority(t).Pool, "localhost"
		if err := tls.Client(dial(t, s.addr), cfg).Handshake(); err == nil || !strings.Contains(err.Error(), "remote error") {
			t.Errorf("%s is accepted, or the client refuses it itself: %v", name, err)
		}
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := &tls.Config{RootCAs: authority(t).Pool, ServerName: "localhost", MaxVersion: version}
		if err := tls.Client(dial(t, s.addr), cfg).Handshake(); err != nil {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}

// A new certificate counts for new connections. Streams of old ones go on.
func TestCertificateIsReadAgain(t *testing.T) {
	for _, protocol := range []string{h1TLS, h2TLS} {
		t.Run(protocol, func(t *testing.T) {
			p := newPair(t)
			ctx, stop := context.WithCancel(t.Context())
			ticks, watched := make(chan time.Time), make(chan struct{})
			go func() {
				defer close(watched)
				p.Watch(ctx, ticks)
			}()
			defer func() { stop(); <-watched }()
			s := start(t, server.Config{TLS: p.Pair})
			l := listen(t, client(t, protocol), s.url)
			look := func() { // the third tick is read when the second has been dealt with
				for range 3 {
					ticks <- time.Time{}
				}
			}
			look()
			for i, serial := range []int64{2, 3} {
				authority(t).Write(t, p.cert, p.key, serial, time.Now().Add(time.Hour))
				look()
				conn := dialTLS(t, s.addr)
				if got := conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != serial {
					t.Errorf("the certificate is %d, want %d", got, serial)
				}
				post(t, client(t, protocol), s.url, "alice", fmt.Sprint(serial))
				l.want(t, l.event(uint64(i+1), "alice", fmt.Sprint(serial)))
			}
			certstest.Replace(t, p.key, "broken")
			look()
			dialTLS(t, s.addr)
			if !strings.Contains(s.metrics(t), "\ntidings_tls_reload_failures_total 1\n") {
				t.Error("the broken key is not counted")
			}
		})
	}
}

// Frames of HTTP/2 are counted below TLS, too: a flood ends the connection. Others are not affected.
func TestFloodOverTLS(t *testing.T) {
	s := start(t, server.Config{TLS: newPair(t).Pair})
	l := listen(t, client(t, h2TLS), s.url)
	conn := dialTLS(t, s.addr, "h2")
	io.WriteString(conn, preface)
	conn.Write(frameOf(4, 0, 0))
	go conn.Write(bytes.Repeat(frameOf(6, 0, 0, make([]byte, 8)...), 3*server.ControlBurst))
	if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
		t.Fatal("the server goes on reading")
	}
	if got := s.metrics(t); !strings.Contains(got, "\ntidings_http2_floods_total{kind=\"ping\"} 1\n") {
		t.Errorf("the metrics do not count the flood:\n%s", got)
	}
	post(t, client(t, h2TLS), s.url, "alice", "still here")
	l.want(t, l.event(1, "alice", "still here"))
}

// A client that has agreed on one version of HTTP cannot speak the other: its frames would not be
// counted, or its connection be taken for one without TLS.
func TestClientKeepsToWhatItHasAgreedOn(t *testing.T) {
	s := startOn(t, server.Config{TLS: newPair(t).Pair}, eventlog.NewMemory(nil), hub.Options{TakeOver: true})
	for agreed, sends := range map[string]string{
		"h2":       "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"http/1.1": preface + string(frameOf(4, 0, 0)),
		"":         preface + string(frameOf(4, 0, 0)),
	} {
		conn := dialTLS(t, s.addr, strings.Fields(agreed)...)
		io.WriteString(conn, sends)
		b, err := io.ReadAll(conn)
		if isTimeout(err) || strings.HasPrefix(string(b), "HTTP/1.1 200 ") || strings.HasPrefix(string(b), "\x00\x00") || agreed == "h2" && len(b) > 0 {
			t.Errorf("after ALPN %q the answer to %q is %q, %v", agreed, sends, b, err)
		}
	}
	conn := tls.Client(dial(t, s.addr), &tls.Config{RootCAs: authority(t).Pool, ServerName: "localhost", NextProtos: []string{"spdy/3"}})
	if err := conn.Handshake(); err == nil {
		t.Error("a client that speaks neither is accepted")
	}
	// net/http serves streams over TLS, whatever the hub may do.
	for _, protocol := range []string{h1TLS, h2TLS} {
		listen(t, client(t, protocol), s.url)
	}
	if paths := s.hub.Stats().Paths; paths[stats.PathNetHTTP].Streams != 2 {
		t.Errorf("the streams: %+v", paths)
	}
}

// A handshake that stalls ends, wherever it does.
func TestHandshakeStalls(t *testing.T) {
	hello := clientHello(t)
	p := newPair(t) // outside of the bubble, where it is not expired
	for name, sends := range map[string][]byte{
		"at once": nil, "in the first record": hello[:20], "after the first flight": hello,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, conn := net.Pipe()
				defer client.Close()
				go client.Write(sends)
				go io.Copy(io.Discard, client)
				begin := time.Now()
				_, err := server.Handshake(p.Pair, conn)
				conn.Close()
				if took := time.Since(begin); err == nil || took != server.HandshakeTimeout {
					t.Errorf("the handshake ends with %v after %v, want %v", err, took, server.HandshakeTimeout)
				}
			})
		})
	}
}

// The time of a handshake is no time of the connection.
func TestConnectionOutlivesTheTimeOfItsHandshake(t *testing.T) {
	p := newPair(t)
	for _, protocol := range []string{"h2", "http/1.1"} {
		synctest.Test(t, func(t *testing.T) {
			client, below := net.Pipe()
			secure := tls.Client(client, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}) // in a bubble it is 2000
			go secure.Handshake()
			conn, err := server.Handshake(p.Pair, below)
			if err != nil {
				t.Fatal(err)
			}
			defer below.Close()
			time.Sleep(2 * server.HandshakeTimeout)
			go io.WriteString(secure, preface)
			if n, err := conn.Read(make([]byte, len(preface))); n == 0 {
				t.Errorf("%s: reading fails with %v", protocol, err)
			}
			go io.Copy(io.Discard, secure)
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Errorf("%s: writing fails with %v", protocol, err)
			}
		})
	}
}

// clientHello returns the first flight of a client.
func clientHello(t *testing.T) []byte {
	t.Helper()
	client, conn := net.Pipe()
	defer conn.Close()
	go tls.Client(client, &tls.Config{ServerName: "localhost"}).Handshake()
	b := make([]byte, 1<<14)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// While the handshakes of others stall, or compute, a newcomer is served.
func TestNewcomersFindRoomBesideHandshakes(t *testing.T) {
	hello := clientHello(t)
	for name, sends := range map[string][]byte{"nothing": nil, "half of a hello": hello[:100], "a hello": hello} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, server.Config{TLS: newPair(t).Pair, Limits: server.Limits{Connections: 100, Requests: 4}})
			streams := []*listener{listen(t, client(t, h1TLS), s.url), listen(t, client(t, h2TLS), s.url)}
			first := dial(t, s.addr)
			first.Write(sends)
			for range 20 {
				dial(t, s.addr).Write(sends)
			}
			begin := time.Now()
			post(t, client(t, h1TLS), s.url, "alice", "hello")
			if took := time.Since(begin); took > 8*time.Second { // a second, on a machine that does nothing else
				t.Errorf("a newcomer is served after %v", took)
			}
			if !isClosed(t, first) {
				t.Error("the connection that has waited longest is still open")
			}
			for _, l := range streams {
				l.want(t, l.event(1, "alice", "hello"))
			}
		})
	}
}

// Handshakes take turns. One that waits for its turn waits for the server, so no newcomer takes its
// place, and it does not keep the server from stopping.
func TestHandshakesTakeTurns(t *testing.T) {
	s := start(t, server.Config{TLS: newPair(t).Pair})
	shake := func() <-chan error {
		conn := tls.Client(dial(t, s.addr), &tls.Config{RootCAs: authority(t).Pool, ServerName: "localhost"})
		done := make(chan error, 1)
		go func() {
			_, err := io.WriteString(conn, getPage)
			if err == nil {
				_, err = conn.Read(make([]byte, 1)) // then the server, too, has ended its handshake
			}
			done <- err
		}()
		return done
	}
	waitBusy := func() {
		t.Helper()
		for deadline := time.Now().Add(patience); s.Busy() != 2; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d connections wait for the server, want 2", s.Busy())
			}
		}
	}
	release := s.HoldTurns()
	first, second := shake(), shake()
	waitBusy()
	select {
	case err := <-first:
		t.Fatalf("a handshake without a turn ends with %v", err)
	default:
	}
	release()
	for _, done := range []<-chan error{first, second} {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	defer s.HoldTurns()()
	first, second = shake(), shake()
	waitBusy()
	begin := time.Now()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 8*time.Second { // a handshake may take 10
		t.Errorf("the server stops after %v", took)
	}
	for _, done := range []<-chan error{first, second} {
		if <-done == nil {
			t.Error("a handshake without a turn has ended well")
		}
	}
}

// Fifty streams share one connection, as those of a browser do.
func TestStreamsShareAConnection(t *testing.T) {
	s := start(t, server.Config{TLS: newPair(t).Pair})
	c := client(t, h2TLS)
	var mu sync.Mutex
	dialed := 0
	c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		mu.Lock()
		dialed++
		mu.Unlock()
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	var streams []*listener
	for range 50 {
		streams = append(streams, listen(t, c, s.url))
	}
	post(t, c, s.url, "alice", "to all")
	for _, l := range streams {
		l.want(t, l.event(1, "alice", "to all"))
	}
	mu.Lock()
	defer mu.Unlock()
	if dialed != 1 {
		t.Errorf("the streams have %d connections, want 1", dialed)
	}
}

// A server that stops does not wait for handshakes, nor for clients that read nothing, whether their
// connections are busy or idle.
func TestStopOverTLS(t *testing.T) {
	s := start(t, server.Config{TLS: newPair(t).Pair, WriteTimeout: time.Hour})
	stalled := dial(t, s.addr)
	for range 3 {
		for _, protocol := range []string{"http/1.1", "h2"} {
			conn := dialTLS(t, s.addr, protocol)
			if protocol == "h2" {
				io.WriteString(conn, preface)
				conn.Write(frameOf(4, 0, 0))
				continue
			}
			answers(t, conn, getPage)
			conn = dialTLS(t, s.addr, protocol)
			io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
		}
	}
	s.wantSubscribers(t, 3)
	for range 10 { // more than the kernel's buffers take
		post(t, client(t, h1TLS), s.url, "alice", strings.Repeat("x", 1<<20))
	}
	if n := s.FillIdle(); n < 3 {
		t.Fatalf("%d connections are idle", n)
	}
	begin := time.Now()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 8*time.Second { // to say goodbye to one idle client takes 5
		t.Errorf("the server stops after %v", took)
	}
	if !isClosed(t, stalled) {
		t.Error("a connection without a handshake is still open")
	}
}

// Requests without TLS are sent on to the same URL with TLS.
func TestRedirect(t *testing.T) {
	p := newPair(t)
	s := start(t, server.Config{TLS: p.Pair, HTTPRedirect: "127.0.0.1:0", AllowHosts: []string{"hub.example.org"}, PublicURL: "https://public.example.org:8443"})
	port := s.addr[strings.LastIndex(s.addr, ":"):]
	at := strings.TrimPrefix(s.RedirectURL(), "http://")
	for _, tt := range []struct{ request, want string }{
		{"GET / HTTP/1.1\r\nHost: localhost", "https://localhost" + port + "/"},
		{"GET /events?topic=a.%2A&x=%0d%0a HTTP/1.1\r\nHost: HUB.example.org:80", "https://hub.example.org" + port + "/events?topic=a.%2A&x=%0d%0a"},
		{"GET /topics/a%2Fb HTTP/1.1\r\nHost: [::1]:80", "https://[::1]" + port + "/topics/a%2Fb"},
		{"GET / HTTP/1.1\r\nHost: public.example.org", "https://public.example.org:8443/"},
		{"HEAD / HTTP/1.1\r\nHost: localhost", "https://localhost" + port + "/"},
		{"POST /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", "https://localhost" + port + "/topics/a"},
		{"GET //evil.example/x HTTP/1.1\r\nHost: localhost", "https://localhost" + port + "//evil.example/x"},
		{"GET http:.evil.example/ HTTP/1.1\r\nHost: localhost", "https://localhost" + port},
		{"OPTIONS * HTTP/1.1\r\nHost: localhost", "https://localhost" + port + "/*"},
		{"GET / HTTP/1.1\r\nHost: evil.example", ""},
		{"GET http://evil.example/ HTTP/1.1\r\nHost: localhost", ""},
		{"GET / HTTP/1.1\r\nHost: ", ""},
		{"GET / HTTP/1.1\r\nHost: localhost@evil.example", ""},
		{"GET / HTTP/1.1\r\nHost: 192.0.2.1", ""},
	} {
		conn := dial(t, at)
		io.WriteString(conn, tt.request)
		if !strings.Contains(tt.request, "\r\n\r\n") {
			io.WriteString(conn, "\r\n\r\n")
		}
		conn.SetReadDeadline(time.Now().Add(patience))
		b, err := io.ReadAll(conn)
		head, _, _ := strings.Cut(string(b), "\r\n\r\n")
		if isTimeout(err) {
			t.Errorf("%q: the connection stays open", tt.request)
		}
		if tt.want == "" {
			if strings.Contains(head, " 308 ") || strings.Contains(head, "Location:") {
				t.Errorf("%q: %s", tt.request, head)
			}
			continue
		}
		if !strings.HasPrefix(head, "HTTP/1.1 308 ") || !strings.Contains(head+"\r\n", "\r\nLocation: "+tt.want+"\r\n") {
			t.Errorf("%q: %s, want %s", tt.request, head, tt.want)
		}
	}
	// The client follows, and the address itself serves nothing.
	got := send(t, client(t, h1TLS), "GET", s.RedirectURL()+"/style.css", nil)
	if got.status != 200 || !strings.HasPrefix(got.header.Get("Content-Type"), "text/css") {
		t.Errorf("%d %v", got.status, got.header)
	}
}
