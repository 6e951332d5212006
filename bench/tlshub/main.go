// Tlshub embeds the hub and serves it over TLS with net/http alone.
// It offers HTTP/1.1 and HTTP/2, and makes a certificate when it starts. Its log is
// that of tidings serve, durable and in the process. So are all settings for
// streams.
//
// It imports only the hub's public packages, so that it also builds with an earlier
// tree: see README.md in the folder above.
//
//	tlshub FOLDER PORT TLS-PORT
//
// It listens only on 127.0.0.1. Both ports serve the same API, PORT without TLS.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"

	"example.com/tidings/eventlog/segmentlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
)

// The limits of tidings serve.
const (
	keepAlive         = 15 * time.Second
	writeTimeout      = 10 * time.Second
	readTimeout       = 30 * time.Second
	readHeaderTimeout = 10 * time.Second
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: tlshub FOLDER PORT TLS-PORT")
		os.Exit(2)
	}
	log.Fatal(serve(context.Background(), os.Args[1], os.Args[2], os.Args[3]))
}

// serve serves a hub, with its log in a folder, until one of the ports fails.
func serve(ctx context.Context, dir, port, tlsPort string) error {
	stored, err := segmentlog.Open(ctx, &segmentlog.Options{Dir: dir, Sync: time.Second})
	if err != nil {
		return err
	}
	h, err := hub.New(ctx, stored, nil)
	if err != nil {
		return err
	}
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	secured := newServer(h)
	secured.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}}
	// Both ports are open before the plain one answers.
	securedPort, err := net.Listen("tcp", "127.0.0.1:"+tlsPort)
	if err != nil {
		return err
	}
	plainPort, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- secured.ServeTLS(securedPort, "", "") }()
	go func() { failed <- newServer(h).Serve(plainPort) }()
	return <-failed
}

// newServer returns a server for the hub's API, with the limits of tidings serve.
func newServer(h *hub.Hub) *http.Server {
	return &http.Server{
		Handler:           httpapi.New(h, nil),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      readTimeout + writeTimeout,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  keepAlive,
			PingTimeout:      writeTimeout,
			WriteByteTimeout: writeTimeout,
		},
	}
}

// selfSigned makes a certificate for 127.0.0.1. Nobody else has its key, and nobody
// needs to trust it.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
