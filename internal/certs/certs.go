// Package certs has the certificate of a server, and reads it again when its files change.
package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"example.com/tidings/internal/filewatch"
)

// A Pair is a certificate, with the certificates that vouch for it, and its private key, both in
// PEM files. Its methods may be called concurrently.
type Pair struct {
	certFile, keyFile string
	log               *slog.Logger
	current           atomic.Pointer[tls.Certificate]
	failures          atomic.Uint64
}

// Load reads a pair. The error says which file is wrong.
func Load(certFile, keyFile string, log *slog.Logger) (*Pair, error) {
	p := &Pair{certFile: certFile, keyFile: keyFile, log: log}
	c, err := p.read()
	if err != nil {
		return nil, err
	}
	p.current.Store(c)
	return p, nil
}

// checkMode refuses a private key that everybody on the machine may read or change. Its group may:
// many systems have one for the programs that use certificates. On Windows, whose permissions are
// others, it accepts each file.
func checkMode(name string) error {
	info, err := os.Stat(name)
	if err != nil || runtime.GOOS == "windows" {
		return nil // whoever reads the file reports the error
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return fmt.Errorf("everybody on this machine may use the private key %s: its mode is %04o, and has to be 0600, or 0640 for a group (chmod 600 %[1]s)", name, mode)
	}
	return nil
}

// read reads both files, and checks that the key is private, that they belong together and are of
// use now.
func (p *Pair) read() (*tls.Certificate, error) {
	if err := checkMode(p.keyFile); err != nil {
		return nil, err
	}
	c, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	if err != nil {
		return nil, fmt.Errorf("the certificate %s and the key %s: %w", p.certFile, p.keyFile, err)
	}
	if now := time.Now(); now.After(c.Leaf.NotAfter) {
		return nil, fmt.Errorf("the certificate %s has expired, on %s", p.certFile, c.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return &c, nil
}

// Config returns a configuration of servers with the pair, whichever it is at the time of a
// connection. protocols are those of ALPN, the preferred first. Clients speak TLS 1.2 at least, with
// an ephemeral key and a cipher that authenticates: HTTP/2 forbids others (RFC 9113, section 9.2.2).
func (p *Pair) Config(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{ // of TLS 1.2
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos:     protocols,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.current.Load(), nil },
	}
}

// Leaf returns the certificate.
func (p *Pair) Leaf() *x509.Certificate { return p.current.Load().Leaf }

// Failures counts the times that the files could not be used.
func (p *Pair) Failures() uint64 { return p.failures.Load() }

// Watch reads the files again when they change, until ctx is done. Files that cannot be used are
// an error of the log. The pair that was read before then stays. Watch looks at each tick.
func (p *Pair) Watch(ctx context.Context, ticks <-chan time.Time) {
	filewatch.Watch(ctx, ticks, []string{p.certFile, p.keyFile}, func() {
		c, err := p.read()
		if err != nil {
			p.failures.Add(1)
			p.log.Error("the certificate cannot be used; the one that was read before goes on", "error", err)
			return
		}
		if was := p.current.Swap(c); !was.Leaf.Equal(c.Leaf) {
			p.log.Info("a new certificate is used", "file", p.certFile, "until", c.Leaf.NotAfter.UTC())
		}
	})
}
