package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

// A NotLoopbackError refuses an address beyond loopback. Its text says how to
// allow it.
type NotLoopbackError struct {
	Flag, Addr string
	Granted    bool // anyone can only do what --anonymous allows
}

func (e *NotLoopbackError) Error() string {
	can, example := "read and publish everything", DefaultAddr
	switch {
	case e.Flag == flagAdmin:
		can, example = "read the metrics", "127.0.0.1:9090"
	case e.Granted:
		can = "do what --anonymous allows"
	}
	return fmt.Sprintf("%s %s is reachable from other machines, and anyone who reaches it can %s. "+
		"To say who may do what, add --keys or --jwt-key. "+
		"To allow all of it, add --insecure-anonymous (or set TIDINGS_INSECURE_ANONYMOUS=true). "+
		"Otherwise use a loopback address such as %s", e.Flag, e.Addr, can, example)
}

// The flags of addresses.
const (
	flagAddr     = "--addr"
	flagAdmin    = "--admin-addr"
	flagRedirect = "--http-redirect"
)

// checkAddr checks the form of HOST:PORT.
func checkAddr(flag, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%s %q: want HOST:PORT with a port from 0 to 65535, as in %s", flag, addr, DefaultAddr)
	}
	return nil
}

// Listen binds the configured addresses. Unless Config.InsecureAnonymous is set or Config.Auth has
// credentials, it refuses an address beyond loopback, or a name of one, with a [*NotLoopbackError];
// the address that redirects may be any. Errors are one line for a user.
func (s *Server) Listen(ctx context.Context) error {
	ln, loopback, err := s.bind(ctx, flagAddr, s.cfg.Addr)
	if err != nil {
		return err
	}
	s.listener = ln
	if !loopback {
		switch {
		case s.cfg.Auth == nil:
			s.log.Warn("anyone who reaches this address can read and publish everything", "addr", ln.Addr().String())
		case !s.cfg.Auth.HasCredentials():
			s.log.Warn("anyone who reaches this address can do what --anonymous allows", "addr", ln.Addr().String())
		case !s.cookie.secure:
			s.log.Warn("keys and tokens travel in clear to this address; give the server a certificate with --tls-cert, or put HTTPS in front and say so with --public-url https://…", "addr", ln.Addr().String())
		}
		s.hosts.anyIP = len(s.cfg.AllowHosts) == 0
	}
	if err := s.listenSides(ctx); err != nil {
		s.Close()
		return err
	}
	return nil
}

// listenSides binds the addresses beside that of the clients.
func (s *Server) listenSides(ctx context.Context) error {
	if s.cfg.AdminAddr != "" {
		ln, loopback, err := s.bind(ctx, flagAdmin, s.cfg.AdminAddr)
		if err != nil {
			return err
		}
		s.admin, s.adminLoopback = s.newSide(flagAdmin, ln, readHeaderTimeout, adminTime), loopback
		switch {
		case loopback:
		case s.cfg.Auth == nil:
			s.log.Warn("anyone who reaches this address can read the metrics", "addr", ln.Addr().String())
		case !s.cfg.Auth.HasCredentials():
			s.log.Warn("nobody can read the metrics at this address: that takes a key or a token, and the server has none", "addr", ln.Addr().String())
		default:
			s.log.Warn("the keys and tokens of those who read the metrics travel in clear to this address", "addr", ln.Addr().String())
		}
	}
	if s.cfg.HTTPRedirect != "" {
		ln, _, err := s.bind(ctx, flagRedirect, s.cfg.HTTPRedirect)
		if err != nil {
			return err
		}
		s.redirects = s.newSide(flagRedirect, ln, redirectTime, 2*redirectTime)
	}
	return nil
}

// Reach reports whether other machines can reach the address of the clients, and that of the
// operator, without listening there. The error is that of Listen for an address that it refuses.
func (s *Server) Reach(ctx context.Context) (clients, operator bool, err error) {
	for _, a := range []struct {
		flag, addr string
		beyond     *bool
	}{{flagAddr, s.cfg.Addr, &clients}, {flagAdmin, s.cfg.AdminAddr, &operator}} {
		if a.addr == "" {
			continue
		}
		loopback, err := isLoopback(ctx, a.flag, a.addr)
		if err != nil {
			return false, false, err
		}
		if *a.beyond = !loopback; !loopback && !s.anywhere(a.flag) {
			return false, false, s.notLoopback(a.flag, a.addr)
		}
	}
	return clients, operator, nil
}

// anywhere reports whether the address of a flag may be beyond loopback.
func (s *Server) anywhere(flag string) bool {
	return s.cfg.InsecureAnonymous || flag == flagRedirect || s.cfg.Auth != nil && s.cfg.Auth.HasCredentials()
}

func (s *Server) notLoopback(flag, addr string) error {
	return &NotLoopbackError{flag, addr, s.cfg.Auth != nil}
}

// bind listens on the address of a flag. It also returns whether that is a loopback address.
func (s *Server) bind(ctx context.Context, flag, addr string) (ln net.Listener, loopback bool, err error) {
	anywhere := s.anywhere(flag)
	if !anywhere {
		loopback, err := isLoopback(ctx, flag, addr)
		if err != nil {
			return nil, false, err
		}
		if !loopback {
			return nil, false, s.notLoopback(flag, addr)
		}
	}
	var lc net.ListenConfig
	inherit(&lc, s.cfg.WriteTimeout)
	lc.SetMultipathTCP(false) // TCP_USER_TIMEOUT is defined for TCP
	ln, err = lc.Listen(ctx, network(addr), addr)
	if err != nil {
		return nil, false, listenError(flag, addr, err)
	}
	// Check the bound address, too: Listen resolves a name again, and may get
	// another address.
	loopback = ln.Addr().(*net.TCPAddr).IP.IsLoopback()
	if !loopback && !anywhere {
		ln.Close()
		return nil, false, s.notLoopback(flag, addr)
	}
	return ln, loopback, nil
}

// network returns tcp4 for an IPv4 address: for 0.0.0.0 and tcp, Go would listen
// on IPv6, too. It returns tcp for any other address.
func network(addr string) string {
	if ip, err := netip.ParseAddrPort(addr); err == nil && ip.Addr().Is4() {
		return "tcp4"
	}
	return "tcp"
}

// isLoopback reports whether addr resolves to loopback addresses only. An empty
// host means all addresses of the machine.
func isLoopback(ctx context.Context, flag, addr string) (bool, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return false, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host) // parses an IP address, too
	if err != nil {
		return false, listenError(flag, addr, err)
	}
	for _, ip := range ips {
		if !loopbackIP(ip) {
			return false, nil
		}
	}
	return len(ips) > 0, nil
}

func listenError(flag, addr string, err error) error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Errorf("cannot listen on %s: the name %q is not known: %w", addr, dns.Name, err)
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("cannot listen on %s: another program listens there; stop it, or choose another address with %s (%w)", addr, flag, syscall.EADDRINUSE)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("cannot listen on %s: this machine does not have that address (%w)", addr, syscall.EADDRNOTAVAIL)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("cannot listen on %s: not permitted; ports below 1024 often need a privilege (%w)", addr, syscall.EACCES)
	}
	return fmt.Errorf("cannot listen on %s: %w", addr, err)
}

// loopbackIP reports whether ip is in 127.0.0.0/8 or ::1.
func loopbackIP(ip netip.Addr) bool { return ip.Unmap().IsLoopback() }
