package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pair writes a certificate and its key, by renaming.
func pair(t *testing.T, cert, key string, serial int64, until time.Time) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: until.Add(-48 * time.Hour), NotAfter: until,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	if key == "" {
		return
	}
	der, err = x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// A pair that is renewed counts. One of which only a half is new, or that is broken, missing or
// expired, keeps the old one.
func TestPair(t *testing.T) { synctest.Test(t, testPair) }

func testPair(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	later := time.Now().Add(time.Hour)
	pair(t, cert, key, 1, later)
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
	pair(t, cert, key, 2, later)
	want("renewed", 2, 0)
	pair(t, cert, "", 3, later)
	want("half", 2, 1)
	write(t, key, "broken")
	want("broken", 2, 2)
	pair(t, cert, key, 4, time.Now().Add(-time.Hour))
	want("expired", 2, 3)
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	want("missing", 2, 4)
	pair(t, cert, key, 5, later)
	want("there again", 5, 4)
	cancel()
	<-done
	if strings.Contains(log.String(), "PRIVATE") || !strings.Contains(log.String(), cert) {
		t.Errorf("the log: %s", &log)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	want := func(what string) {
		t.Helper()
		if _, err := Load(cert, key, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), cert) {
			t.Errorf("%v, want %q", err, what)
		}
	}
	want("no such file")
	pair(t, cert, key, 1, time.Now().Add(-time.Minute))
	want("expired")
	pair(t, cert, key, 1, time.Now().Add(time.Hour))
	pair(t, cert, "", 2, time.Now().Add(time.Hour))
	want("does not match")
}
