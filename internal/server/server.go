// Package server is the program behind "tidings serve": a hub's HTTP API, the
// chat example's route, metrics and a page, for everyone on this machine.
//
//	s, err := server.New(server.Config{Addr: "127.0.0.1:0"})
//	...
//	err = s.Listen(ctx)
//	fmt.Println("listening on", s.URL())
//	err = s.Run(ctx, h) // until ctx is done
//
// By default it listens on loopback addresses only, and answers only requests for
// loopback names and from pages of its own origin. [Config] can allow more.
// docs/http-api.md describes its routes.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/internal/auth"
	"example.com/tidings/internal/certs"
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
	maxHeaderBytes    = 32 << 10 // a browser sends localhost's cookies to every port
	maxStreams        = 100      // of a connection of HTTP/2

	// shutdownGrace is how long streams and requests may take to end by
	// themselves. With it the program exits within a second of a signal.
	shutdownGrace = 700 * time.Millisecond

	// failedGrace is how long the hub may take to close after its log has failed: the
	// disk may hang.
	failedGrace = 3 * time.Second
)

// Config configures a [Server]. The zero value means the defaults.
type Config struct {
	// Addr is HOST:PORT to listen on; port 0 picks a free port. Empty means
	// DefaultAddr.
	Addr string

	// InsecureAnonymous allows an Addr beyond loopback, where anyone who
	// reaches it can read and publish everything.
	InsecureAnonymous bool

	// AllowHosts are the host names, without a port, that the server answers to
	// besides the loopback names. If there are none, a server on an address beyond
	// loopback also answers to any IP address.
	AllowHosts []string

	// AllowOrigins are the origins, scheme://host[:port], whose pages may use the
	// server, besides its own origin.
	AllowOrigins []string

	// Authorize decides what a request may do, as httpapi.Options.Authorize does.
	// The server asks it on every route of the API, for POST /messages and for the
	// metrics beyond loopback: this is the one place for identities. Nil allows everything to
	// each request that passes the checks of its host and origin.
	Authorize func(*http.Request, httpapi.Access) (httpapi.Decision, error)

	// Auth, if not nil, says by credentials who asks, and what they may do. It takes the place of
	// Authorize, and the server has the route /session.
	Auth *auth.Authenticator

	// AdminAddr is HOST:PORT for the operator: the metrics, and on a loopback address the profiles
	// of the process. Without a host it is 127.0.0.1. Empty means that there is none.
	AdminAddr string

	// TLS, if not nil, is the certificate of a server that speaks TLS on Addr, with HTTP/2 or
	// HTTP/1.1. Each client gets it, whatever name it asks for.
	TLS *certs.Pair

	// HTTPRedirect is HOST:PORT where requests without TLS are sent on to the same URL with TLS,
	// which has to be configured. Empty means that there is none.
	HTTPRedirect string

	// PublicURL is the origin under which pages reach the server through a proxy, as in
	// https://hub.example.org. Empty means that they reach the server itself.
	PublicURL string

	// MaxMessage bounds the data of a message of POST /topics and /batch, in
	// bytes. 0 means the default of package httpapi.
	MaxMessage int

	// DefaultTopic is the topic of a stream whose request names none, and of
	// POST /messages. If it is empty, the server refuses both.
	DefaultTopic string

	// KeepAlive and WriteTimeout are the hub's settings for streams. The server
	// also pings HTTP/2 connections after KeepAlive, and on Linux closes any
	// connection whose peer's kernel acknowledges no data for WriteTimeout. 0 means
	// DefaultKeepAlive and DefaultWriteTimeout. If KeepAlive is negative, pings use
	// the default. WriteTimeout is never negative.
	KeepAlive    time.Duration
	WriteTimeout time.Duration

	// ReadTimeout bounds the reading of a request with its body. 0 means
	// DefaultReadTimeout.
	ReadTimeout time.Duration

	// H2C lets clients speak HTTP/2 without TLS (prior knowledge). A server with TLS ignores it.
	H2C bool

	// Limits bound the connections to Addr. The zero value means those of [NewLimits] without a
	// bound of memory.
	Limits Limits

	// Logger is where the server logs. Nil means slog.Default().
	Logger *slog.Logger

	// DroppedLines returns how many lines of the log were dropped, for /metrics. Nil means
	// that none are.
	DroppedLines func() uint64
}

// A Server serves one hub. [New] makes it. [Server.Listen] binds its address: a
// program opens its log only after that succeeds. [Server.Run] serves a hub there
// until its context is done.
type Server struct {
	cfg      Config
	log      *slog.Logger
	hosts    hostPolicy
	origins  *originPolicy
	assets   map[string]*asset // the page's files, by path
	cookie   cookiePolicy
	http     *http.Server
	conns    *connections
	floods   *floods
	warnings *warnings
	listener net.Listener
	abandon  context.CancelFunc // ends the context of every request

	handshakes    *handshakes // nil without TLS
	admin         *side       // nil if there is none
	adminLoopback bool
	redirects     *side // nil if there is none
}

// New checks the configuration and returns a server that does not listen yet.
// Its error is one line that says what is wrong with which flag of "tidings
// serve".
func New(cfg Config) (*Server, error) {
	cfg.Addr = cmp.Or(cfg.Addr, DefaultAddr)
	cfg.KeepAlive = cmp.Or(cfg.KeepAlive, DefaultKeepAlive)
	cfg.WriteTimeout = cmp.Or(cfg.WriteTimeout, DefaultWriteTimeout)
	cfg.ReadTimeout = cmp.Or(cfg.ReadTimeout, DefaultReadTimeout)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Limits == (Limits{}) {
		cfg.Limits = NewLimits(math.MaxInt64, true, 0)
	}
	if strings.HasPrefix(cfg.AdminAddr, ":") {
		cfg.AdminAddr = "127.0.0.1" + cfg.AdminAddr
	}
	s := &Server{cfg: cfg, log: cfg.Logger}
	if err := cfg.checkAddrs(); err != nil {
		return nil, err
	}
	var err error
	hosts, origins := cfg.AllowHosts, cfg.AllowOrigins
	if cfg.PublicURL != "" {
		if s.cfg.PublicURL, err = normalOrigin(strings.TrimSuffix(cfg.PublicURL, "/")); err != nil {
			return nil, fmt.Errorf("--public-url %q: %w; want https://host[:port]", cfg.PublicURL, err)
		}
		hosts = append(slices.Clip(hosts), hostname(strings.TrimPrefix(strings.TrimPrefix(s.cfg.PublicURL, "http://"), "https://")))
		origins = append(slices.Clip(origins), s.cfg.PublicURL)
	}
	if s.hosts, err = newHostPolicy(hosts); err != nil {
		return nil, err
	}
	if s.origins, err = newOriginPolicy(origins); err != nil {
		return nil, err
	}
	s.assets = pageAssets(cfg.Auth)
	s.cookie = newCookiePolicy(cfg.TLS != nil || strings.HasPrefix(s.cfg.PublicURL, "https://"))
	if cfg.Auth != nil {
		s.cfg.Authorize = s.decide
	}
	s.conns = newConnections(cfg.Limits)
	s.warnings = newWarnings(s.log)
	s.floods = newFloods(func(kind string, remote net.Addr) {
		s.warnings.warn("closing an HTTP/2 connection: the client has sent too many control frames", "kind", kind, "remote", remote.String())
	})
	if cfg.TLS != nil {
		s.handshakes = newHandshakes(cfg.TLS, s.floods, s.conns, s.warnings)
	}
	s.http = s.newHTTP()
	return s, nil
}

// checkAddrs checks the form of the addresses, and that TLS is there for the one that needs it.
func (cfg *Config) checkAddrs() error {
	for _, a := range []struct{ flag, addr string }{{flagAddr, cfg.Addr}, {flagAdmin, cfg.AdminAddr}, {flagRedirect, cfg.HTTPRedirect}} {
		if a.addr == "" {
			continue
		}
		if err := checkAddr(a.flag, a.addr); err != nil {
			return err
		}
	}
	if cfg.HTTPRedirect != "" && cfg.TLS == nil {
		return errors.New("--http-redirect sends requests on to HTTPS, and the server has none: give it a certificate with --tls-cert and --tls-key")
	}
	return nil
}

// newHTTP returns the http.Server, without a handler.
func (s *Server) newHTTP() *http.Server {
	cfg := &s.cfg
	pingAfter := cfg.KeepAlive
	if pingAfter < 0 {
		pingAfter = DefaultKeepAlive // without keep-alives, pings go on
	}
	base, abandon := context.WithCancel(context.Background())
	s.abandon = abandon
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	// Over TLS, net/http sees the frames of HTTP/2 without it.
	protocols.SetUnencryptedHTTP2(cfg.H2C || cfg.TLS != nil)
	return &http.Server{
		ConnState:   s.conns.state,
		ConnContext: s.conns.context,
		Protocols:   protocols,
		BaseContext: func(net.Listener) context.Context {
			// HTTP/2 is set up now, and has no idle timer. This is for HTTP/1.
			s.http.IdleTimeout = idleTimeout
			return base
		},
		ErrorLog:          log.New(s.warnings, "", 0),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       -1,
		MaxHeaderBytes:    maxHeaderBytes,
		// The * of OPTIONS * is a path that does not exist.
		DisableGeneralOptionsHandler: true,
		// These two do not apply to streams, which have a deadline for each
		// write.
		ReadTimeout:  cfg.ReadTimeout,
		WriteTimeout: cfg.ReadTimeout + cfg.WriteTimeout,
		// A write deadline alone does not end an HTTP/2 connection whose peer
		// has vanished: the reset of the stream waits behind the stuck bytes.
		// These settings end it.
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  pingAfter,
			PingTimeout:      cfg.WriteTimeout,
			WriteByteTimeout: cfg.WriteTimeout,
			// These bound the memory of a connection. net/http takes that of a frame as
			// soon as it has the frame's header, a mebibyte by default.
			MaxConcurrentStreams:          maxStreams,
			MaxReadFrameSize:              16 << 10,
			MaxReceiveBufferPerConnection: 256 << 10,
			MaxReceiveBufferPerStream:     128 << 10,
		},
	}
}

// use makes h the hub that the server serves.
func (s *Server) use(h *hub.Hub) {
	s.http.Handler = s.Handler(h)
	// Shutdown closes the listener first and then calls this.
	s.http.RegisterOnShutdown(h.Drain)
}

// URL returns the address that the server listens on, as http://HOST:PORT or
// https://HOST:PORT. It is valid after Listen.
func (s *Server) URL() string { return s.scheme() + "://" + s.listener.Addr().String() }

// scheme returns that of the URLs of the server.
func (s *Server) scheme() string {
	if s.cfg.TLS != nil {
		return "https"
	}
	return "http"
}

// AdminURL returns the address for the operator, as http://HOST:PORT, or "" if there is none. It is
// valid after Listen.
func (s *Server) AdminURL() string { return s.admin.url() }

// RedirectURL is like AdminURL for the address that redirects to HTTPS.
func (s *Server) RedirectURL() string { return s.redirects.url() }

// Run serves h until ctx is done or the hub's log has failed, and then stops. It
// accepts no new connection and drains the hub: each stream ends after the
// last message published. After 700 ms it cuts the connections that are left. Then it
// closes the hub with its log. After a failure of the log it returns [hub.Hub.Err]
// within 5 seconds, even if the disk hangs. Run returns an error if serving or closing
// the hub fails. It may be called once, after Listen.
func (s *Server) Run(ctx context.Context, h *hub.Hub) error {
	defer s.abandon()
	defer s.warnings.close()
	s.use(h)
	defer s.serveSides(h)()
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.clients()) }()
	select {
	case err := <-served:
		s.http.Close()
		s.abandon()
		if err := h.Close(); err != nil {
			s.log.Error("closing the log failed", "error", err)
		}
		return fmt.Errorf("the server stopped: %w", err)
	case <-ctx.Done():
		s.log.Info("stopping", "reason", context.Cause(ctx))
	case <-h.Failed():
		s.log.Info("stopping", "reason", "the log has failed")
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	inTime := context.AfterFunc(grace, func() { s.conns.cut() }) // Shutdown itself may wait for a connection of TLS
	ending := make(chan struct{})
	go s.conns.endIdle(ending)
	err := s.http.Shutdown(grace)
	close(ending)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("stopping", "error", err)
	}
	if !inTime() || err != nil {
		if s.conns.cut() { // Shutdown looks so seldom that it may not have seen the end of the last one
			s.log.Warn("cutting connections that did not end in time", "grace", shutdownGrace)
		}
		s.http.Close()
		s.abandon()
	}
	<-served
	err = s.closeHub(h)
	if failure := h.Err(); failure != nil {
		return failure
	}
	if err != nil {
		return fmt.Errorf("close the log: %w", err)
	}
	s.log.Info("stopped")
	return nil
}

// clients returns the listener from which clients come.
func (s *Server) clients() net.Listener {
	bounded := &boundedListener{Listener: s.listener, connections: s.conns, warn: func() {
		s.warnings.warn("closing new connections: too many are open; see --max-subscribers, and the limit of file descriptors (ulimit -n)")
	}}
	paced := newPacedListener(bounded)
	switch {
	case s.handshakes != nil:
		return newSortingListener(paced, s.handshakes.shake, s.conns.gone)
	case s.cfg.H2C:
		return newSortingListener(paced, s.floods.sort, s.conns.gone)
	}
	return paced
}

// closeHub closes the hub. Once its log has failed, it gives up after failedGrace.
func (s *Server) closeHub(h *hub.Hub) error {
	closed := make(chan error, 1)
	go func() { closed <- h.Close() }()
	select {
	case err := <-closed:
		return err
	case <-h.Failed():
	}
	select {
	case err := <-closed:
		return err
	case <-time.After(failedGrace):
		s.log.Warn("the log does not close", "grace", failedGrace)
		return nil
	}
}

// Close releases the addresses of a server that does not run.
func (s *Server) Close() error {
	s.abandon()
	for _, d := range s.sides() {
		d.listener.Close()
	}
	if s.listener == nil {
		return nil
	}
	return s.listener.Close()
}
