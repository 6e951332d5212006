// Package memhttp serves HTTP in memory, for tests. It uses no ports. It also
// works inside testing/synctest bubbles, because nothing waits for a network.
package memhttp

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
)

// A Server is an http.Server with connections in memory. It is closed at the
// end of the test.
type Server struct {
	HTTP     *http.Server
	listener *listener
}

// New starts a server for h, which speaks HTTP/1.1 and HTTP/2 without TLS. If
// configure is not nil, it can change the http.Server before the start.
func New(t *testing.T, h http.Handler, configure func(*http.Server)) *Server {
	t.Helper()
	srv := &http.Server{Handler: h, Protocols: new(http.Protocols), ErrorLog: log.New(io.Discard, "", 0)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	if configure != nil {
		configure(srv)
	}
	return Serve(t, srv)
}

// Serve starts srv without changing it.
func Serve(t *testing.T, srv *http.Server) *Server {
	t.Helper()
	return ServeThrough(t, srv, func(l net.Listener) net.Listener { return l })
}

// ServeThrough is Serve with a listener that gets its connections from another one.
func ServeThrough(t *testing.T, srv *http.Server, through func(net.Listener) net.Listener) *Server {
	t.Helper()
	s := &Server{HTTP: srv, listener: &listener{conns: make(chan net.Conn), closed: make(chan struct{})}}
	var done sync.WaitGroup
	done.Go(func() { s.HTTP.Serve(through(s.listener)) })
	t.Cleanup(func() {
		s.HTTP.Close()
		done.Wait()
	})
	return s
}

// URL returns the base of the server's URLs.
func (s *Server) URL() string { return "http://memory.test" }

// Dial opens a raw connection.
func (s *Server) Dial() (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case s.listener.conns <- server:
		return client, nil
	case <-s.listener.closed:
		return nil, net.ErrClosed
	}
}

// Client returns a client for the server. It uses HTTP/2 if h2 is true, and
// HTTP/1.1 otherwise.
func (s *Server) Client(t *testing.T, h2 bool) *http.Client {
	tr := &http.Transport{
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return s.Dial() },
		Protocols:          new(http.Protocols),
		DisableCompression: true,
	}
	tr.Protocols.SetHTTP1(!h2)
	tr.Protocols.SetUnencryptedHTTP2(h2)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

type listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return addr{} }

type addr struct{}

func (addr) Network() string { return "memory" }
func (addr) String() string  { return "memory.test:80" }
