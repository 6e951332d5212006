//go:build unix

package main_test

import (
	"bufio"
	"crypto/tls"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/tidings/internal/certs/certstest"
)

// The program speaks HTTPS with the certificate that it is given, and uses a new one within a
// second, while a stream goes on. Beside it, it redirects, and has metrics.
func TestServeTLS(t *testing.T) {
	ca, dir := certstest.New(t), t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca.Write(t, cert, key, 1, time.Now().Add(time.Hour))
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory", "--tls-cert", cert, "--tls-key", key, "--admin-addr", ":0", "--http-redirect", "127.0.0.1:0")
	if !strings.HasPrefix(p.url, "https://127.0.0.1:") || len(p.others) != 2 ||
		!strings.HasPrefix(p.others[0], "admin on http://127.0.0.1:") || !strings.HasPrefix(p.others[1], "redirecting from http://127.0.0.1:") {
		t.Fatalf("%s, %q", p.url, p.others)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport}
	stream, err := c.Get(p.url + "/events?topic=a")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	lines := bufio.NewScanner(stream.Body)
	wait := func(what string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), what) {
				return
			}
		}
		t.Fatalf("the stream ends before %s: %v", what, lines.Err())
	}
	wait("tidings.open")
	if stream.ProtoMajor != 2 {
		t.Errorf("the stream is one of %s", stream.Proto)
	}
	ca.Write(t, cert, key, 2, time.Now().Add(time.Hour))
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "https://"), &tls.Config{RootCAs: ca.Pool})
		if err != nil {
			t.Fatal(err)
		}
		serial := conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
		conn.Close()
		if serial == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the new certificate is not used")
		}
	}
	// The client is redirected, and posts the same body again.
	res, err := c.Post(strings.TrimPrefix(p.others[1], "redirecting from ")+"/topics/a", "text/plain", strings.NewReader("after the new certificate"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusCreated || res.Request.URL.Scheme != "https" {
		t.Errorf("%s %s", res.Request.URL, res.Status)
	}
	wait("after the new certificate")
	if m := p.metrics(t); !strings.Contains(m, "\ntidings_streams{path=\"net/http\"} 1\n") || !strings.Contains(m, "\ntidings_tls_reload_failures_total 0\n") {
		t.Errorf("the metrics: %s", m)
	}
	begin := time.Now()
	p.signal(t, syscall.SIGTERM)
	if err := p.wait(t); err != nil || time.Since(begin) > 5*time.Second {
		t.Errorf("the program ends with %v after %v", err, time.Since(begin))
	}
}

// Without its flag, nobody finds metrics or profiles.
func TestAdminAddressIsAFlag(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	for _, path := range []string{"/metrics", "/debug/pprof/"} {
		if res := get(t, p.url+path); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
}
