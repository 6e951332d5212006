// Package server is the program behind "tidings serve": a hub's HTTP API, the
// seed's feed on it, and a page, for everyone on this machine.
//
//	s, err := server.New(server.Config{Addr: "127.0.0.1:0"})
//	...
//	err = s.Listen(ctx)
//	fmt.Println("listening on", s.URL())
//	err = s.Run(ctx, h) // until ctx is done
//
// It is closed by default. It listens on loopback addresses only, answers only
// to loopback names, and only to pages of its own origin; what opens it is in
// [Config]. docs/http-api.md describes its routes.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
)

// The defaults of a [Config].
const (
	DefaultAddr         = "127.0.0.1:8080"
	DefaultKeepAlive    = 15 * time.Second
	DefaultWriteTimeout = 10 * time.Second
	DefaultReadTimeout  = 30 * time.Second
)

// Limits that are not configured.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10 // a browser sends localhost's cookies to every port

	// shutdownGrace is how long streams and requests may take to end by
	// themselves. With it the program exits within a second of a signal.
	shutdownGrace = 700 * time.Millisecond
)

// Config configures a [Server]. The zero value holds the defaults.
type Config struct {
	// Addr is HOST:PORT to listen on; port 0 takes any that is free. Empty
	// means DefaultAddr.
	Addr string

	// InsecureAnonymous allows an Addr beyond loopback, where anyone who
	// reaches it can read and publish everything.
	InsecureAnonymous bool

	// AllowHosts are the names, without a port, under which the server may be
	// addressed besides the loopback ones. On an address beyond loopback any IP
	// address will do, too, when there are none.
	AllowHosts []string

	// AllowOrigins are the origins, scheme://host[:port], besides its own whose
	// pages may use the server.
	AllowOrigins []string

	// Authorize decides what a request may do, on every route of the API and for
	// the seed's feed, as that of httpapi.Options does: this is the one place for
	// identities. Nil allows everything to everyone whom the host and the origin
	// let through.
	Authorize func(*http.Request, httpapi.Access) error

	// MaxMessage bounds the data of a message of POST /topics and /batch, in
	// bytes. 0 means the default of package httpapi.
	MaxMessage int

	// KeepAlive and WriteTimeout are those that the hub has for its streams. The
	// server keeps HTTP/2 connections alive as often, and gives what was written
	// to any connection as long to be acknowledged by the peer's kernel (Linux).
	// 0 means DefaultKeepAlive and DefaultWriteTimeout; a negative KeepAlive
	// leaves that of HTTP/2 at the default. WriteTimeout is never negative.
	KeepAlive    time.Duration
	WriteTimeout time.Duration

	// ReadTimeout bounds the reading of a request with its body. 0 means
	// DefaultReadTimeout.
	ReadTimeout time.Duration

	// Logger is where the server logs. Nil means slog.Default().
	Logger *slog.Logger
}

// A Server serves one hub. [New] makes it, [Server.Listen] binds its address, so
// that nothing need be opened for a server that cannot run, and [Server.Run]
// serves a hub there until its context is done.
type Server struct {
	cfg      Config
	log      *slog.Logger
	hosts    hostPolicy
	origins  *originPolicy
	assets   map[string]*asset // the page's, by path
	http     *http.Server
	crowd    *crowd
	listener net.Listener
	abandon  context.CancelFunc // ends the context of every request
}

// New checks the configuration and returns a server that does not listen yet.
// Its error is one line that says what is wrong with which setting, in terms of
// the flags of "tidings serve".
func New(cfg Config) (*Server, error) {
	setDefault(&cfg.Addr, DefaultAddr)
	setDefault(&cfg.KeepAlive, DefaultKeepAlive)
	setDefault(&cfg.WriteTimeout, DefaultWriteTimeout)
	setDefault(&cfg.ReadTimeout, DefaultReadTimeout)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	s := &Server{cfg: cfg, log: cfg.Logger}
	if err := checkAddr(cfg.Addr); err != nil {
		return nil, err
	}
	var err error
	if s.hosts, err = newHostPolicy(cfg.AllowHosts); err != nil {
		return nil, err
	}
	if s.origins, err = newOriginPolicy(cfg.AllowOrigins); err != nil {
		return nil, err
	}
	s.assets = pageAssets()

	pingAfter := cfg.KeepAlive
	if pingAfter < 0 {
		pingAfter = DefaultKeepAlive // pings go on where keep-alives are off
	}
	base, abandon := context.WithCancel(context.Background())
	s.abandon = abandon
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.crowd = newCrowd()
	s.http = &http.Server{
		ConnState:         s.crowd.state,
		Protocols:         protocols,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// OPTIONS * is a path that does not exist, as any other.
		DisableGeneralOptionsHandler: true,
		// A stream has a deadline for each write instead of WriteTimeout, and
		// ReadTimeout does not concern it.
		ReadTimeout:  cfg.ReadTimeout,
		WriteTimeout: cfg.ReadTimeout + cfg.WriteTimeout,
		// A write deadline alone does not end an HTTP/2 connection whose peer
		// has vanished: the reset of the stream would wait behind the same
		// stuck bytes. These settings do.
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  pingAfter,
			PingTimeout:      cfg.WriteTimeout,
			WriteByteTimeout: cfg.WriteTimeout,
		},
	}
	return s, nil
}

// use makes h the hub that is served.
func (s *Server) use(h *hub.Hub) {
	s.http.Handler = s.Handler(h)
	s.crowd.hub.Store(h)
	// Shutdown closes the listener first and then calls this.
	s.http.RegisterOnShutdown(h.Drain)
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// URL returns the address that the server listens on, as http://HOST:PORT. It
// is valid after Listen.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() }

// Run serves h until ctx is done, and then stops: no new connection is taken, the
// hub is drained, so that streams end cleanly after what was published, what has
// not ended after 700 ms is cut, and the hub is closed, and with it its log. It
// returns nil, unless serving or closing the hub has failed, and is called once,
// after Listen.
func (s *Server) Run(ctx context.Context, h *hub.Hub) error {
	defer s.abandon()
	s.use(h)
	served := make(chan error, 1)
	listener := &boundedListener{Listener: s.listener, crowd: s.crowd, warn: func() {
		s.log.Warn("new connections are closed: nearly as many descriptors are in use as the process may have (ulimit -n)")
	}}
	go func() { served <- s.http.Serve(newPacedListener(listener)) }()
	select {
	case err := <-served:
		s.abandon()
		s.http.Close()
		if err := h.Close(); err != nil {
			s.log.Error("the log was not closed", "error", err)
		}
		return fmt.Errorf("the server stopped: %w", err)
	case <-ctx.Done():
	}
	s.log.Info("stopping", "reason", context.Cause(ctx))
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := s.http.Shutdown(grace); err != nil {
		if !errors.Is(err, context.DeadlineExceeded) {
			s.log.Warn("stopping", "error", err)
		}
		s.log.Warn("cutting connections that have not ended in time", "grace", shutdownGrace)
		s.abandon()
		s.http.Close()
	}
	<-served
	if err := h.Close(); err != nil {
		return fmt.Errorf("close the log: %w", err)
	}
	s.log.Info("stopped")
	return nil
}

// Close releases the address of a server that is not run.
func (s *Server) Close() error {
	s.abandon()
	if s.listener == nil {
		return nil
	}
	return s.listener.Close()
}
