package certs

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
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
