package certs

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/certs/certstest"
)

// A pair that is renewed counts. One of which only a half is new, or that is broken, missing or
// expired, keeps the old one.
func TestPair(t *testing.T) { synctest.Test(t, testPair) }

func testPair(t *testing.T) {
	ca, dir := certstest.New(t), t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	later := time.Now().Add(time.Hour)
	ca.Write(t, cert, key, 1, later)
	var log strings.Builder
	p, err := Load(cert, key, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ticks, done := make(chan time.Time), make(chan struct{})
	go func() {
		defer close(done)
		p.Watch(ctx, ticks)
	}()
	want := func(what string, serial int64, failures uint64) {
		t.Helper()
		for range 2 {
			ticks <- time.Time{}
			synctest.Wait()
		}
		c, err := p.Config("h2", "http/1.1").GetCertificate(nil)
		if err != nil || c.Leaf.SerialNumber.Int64() != serial || p.Failures() != failures {
			t.Errorf("%s: %v, %v, %d failures", what, c.Leaf.SerialNumber, err, p.Failures())
		}
	}
	want("at first", 1, 0)
	ca.Write(t, cert, key, 2, later)
	want("renewed", 2, 0)
	ca.Write(t, cert, "", 3, later)
	want("half", 2, 1)
	certstest.Replace(t, key, "broken")
	want("broken", 2, 2)
	ca.Write(t, cert, key, 4, time.Now().Add(-time.Hour))
	want("expired", 2, 3)
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	want("missing", 2, 4)
	ca.Write(t, cert, key, 5, later)
	want("there again", 5, 4)
	cancel()
	<-done
	if strings.Contains(log.String(), "PRIVATE") || !strings.Contains(log.String(), cert) {
		t.Errorf("the log: %s", &log)
	}
}

func TestLoad(t *testing.T) {
	ca, dir := certstest.New(t), t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	want := func(what string) {
		t.Helper()
		if _, err := Load(cert, key, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), cert) {
			t.Errorf("%v, want %q", err, what)
		}
	}
	want("no such file")
	ca.Write(t, cert, key, 1, time.Now().Add(-time.Minute))
	want("expired")
	ca.Write(t, cert, key, 1, time.Now().Add(time.Hour))
	ca.Write(t, cert, "", 2, time.Now().Add(time.Hour))
	want("does not match")
}

// A private key that everybody on the machine may use is refused, with its mode and the right one,
// also when it is read again. Its group may use it.
func TestPairWithAKeyForEverybody(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // its permissions are others
	}
	ca, dir := certstest.New(t), t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca.Write(t, cert, key, 1, time.Now().Add(time.Hour))
	for mode, refused := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o640: false, 0o644: true, 0o604: true, 0o602: true, 0o666: true} {
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
		_, err := Load(cert, key, slog.New(slog.DiscardHandler))
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), fmt.Sprintf("its mode is %04o, and has to be 0600", mode)) {
			t.Errorf("with the mode %04o: %v", mode, err)
		}
	}
}

// Nothing older than TLS 1.2 is spoken, and of that only ciphers with an ephemeral key that
// authenticate: HTTP/2 forbids others (RFC 9113, section 9.2.2). The configuration is read, because
// some mistakes cannot be seen from outside: a version without a common cipher fails anyway, and a
// cipher without an ephemeral key needs a certificate of RSA.
func TestConfig(t *testing.T) {
	ca, dir := certstest.New(t), t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca.Write(t, cert, key, 1, time.Now().Add(time.Hour))
	p, err := Load(cert, key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	cfg := p.Config("h2", "http/1.1")
	if cfg.MinVersion != tls.VersionTLS12 || cfg.MaxVersion != 0 || !slices.Equal(cfg.NextProtos, []string{"h2", "http/1.1"}) {
		t.Errorf("versions %x to %x, protocols %q", cfg.MinVersion, cfg.MaxVersion, cfg.NextProtos)
	}
	if len(cfg.CipherSuites) == 0 {
		t.Error("the ciphers are those of package tls, some of which HTTP/2 forbids")
	}
	for _, id := range cfg.CipherSuites {
		name := tls.CipherSuiteName(id)
		if !strings.HasPrefix(name, "TLS_ECDHE_") || !strings.Contains(name, "_GCM_") && !strings.Contains(name, "_POLY1305_") {
			t.Errorf("the cipher %s", name)
		}
	}
}
