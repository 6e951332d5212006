//go:build linux

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// Attacks with handshakes of TLS, which cost the server more than the client.
var tlsAttacks = []attack{
	{
		name: "handshakes",
		what: "16 clients shake hands over TLS, and reset",
		tls:  true,
		run: func(ctx context.Context, t *target) string {
			var done atomic.Int64
			n := repeat(ctx, 16, func(_, _ int) {
				conn, err := dialTo(t.addr, 0, t.left())
				if err != nil {
					return
				}
				defer reset(conn)
				conn.SetDeadline(time.Now().Add(t.left()))
				if tls.Client(conn, anyCertificate).Handshake() == nil {
					done.Add(1)
				}
			})
			return fmt.Sprintf("%d handshakes, %d of them to the end", n, done.Load())
		},
	},
	{
		name: "handshakes-half",
		what: "5,000 connections send the first flight of a handshake over TLS, and nothing more",
		tls:  true,
		run: func(ctx context.Context, t *target) string {
			hello, err := clientHello()
			if err != nil {
				panic(err) // the attack is wrong
			}
			var c crowd
			defer c.leave()
			each(ctx, t.many(5000), 8, func(int) { c.add(t.send(0, hello)) })
			<-ctx.Done()
			return c.String()
		},
	},
	{
		name: "handshakes-slow",
		what: "5,000 connections send the first flight of a handshake over TLS one byte a second",
		tls:  true,
		run: func(ctx context.Context, t *target) string {
			return trickle(ctx, t, 5000, "\x00", func(int) string { return "\x16\x03\x01\x02\x00" })
		},
	},
}

// anyCertificate is the configuration of clients that speak HTTP/1.1 over TLS.
var anyCertificate = &tls.Config{InsecureSkipVerify: true}

// tlsPrefix begins an address whose clients speak TLS.
const tlsPrefix = "tls:"

// dialClient connects as a client does, over TLS if the address begins with tlsPrefix.
func dialClient(addr string, timeout time.Duration) (net.Conn, error) {
	addr, secure := strings.CutPrefix(addr, tlsPrefix)
	conn, err := dialTo(addr, 0, timeout)
	if err != nil || !secure {
		return conn, err
	}
	conn.SetDeadline(time.Now().Add(timeout))
	c := tls.Client(conn, anyCertificate)
	if err := c.Handshake(); err != nil {
		reset(conn)
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	return c, nil
}

// urlOf returns the URL of an address for [dialClient].
func urlOf(addr string) string {
	if addr, secure := strings.CutPrefix(addr, tlsPrefix); secure {
		return "https://" + addr
	}
	return "http://" + addr
}

// clientHello returns the first flight of a client.
func clientHello() (string, error) {
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		_ = tls.Client(client, anyCertificate).Handshake() // it fails when server is closed
	}()
	b := make([]byte, 1<<14)
	n, err := server.Read(b)
	return string(b[:n]), err
}

// writeCertificate writes a certificate of loopback addresses, and its private key.
func writeCertificate(cert, key string) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600),
	)
}
