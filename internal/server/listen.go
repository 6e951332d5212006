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
type NotLoopbackError struct{ Addr string }

func (e *NotLoopbackError) Error() string {
	return fmt.Sprintf("--addr %s is reachable from other machines, and anyone who reaches it can read and publish everything. "+
		"To say who may do what, add --keys or --jwt-key. "+
		"To allow all of it, add --insecure-anonymous (or set TIDINGS_INSECURE_ANONYMOUS=true). "+
		"Otherwise use a loopback address such as %s", e.Addr, DefaultAddr)
}

// checkAddr checks the form of HOST:PORT.
func checkAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("--addr %q: want HOST:PORT with a port from 0 to 65535, as in %s", addr, DefaultAddr)
	}
	return nil
}

// Listen binds the configured address. Unless Config.InsecureAnonymous is set or Config.Auth has
// credentials, it refuses an address beyond loopback, or a name of one, with a [*NotLoopbackError].
// Errors are one line for a user.
func (s *Server) Listen(ctx context.Context) error {
	anywhere := s.cfg.InsecureAnonymous || s.cfg.Auth != nil && s.cfg.Auth.HasCredentials()
	if !anywhere {
		loopback, err := isLoopback(ctx, s.cfg.Addr)
		if err != nil {
			return err
		}
		if !loopback {
			return &NotLoopbackError{s.cfg.Addr}
		}
	}
	var lc net.ListenConfig
	inherit(&lc, s.cfg.WriteTimeout)
	lc.SetMultipathTCP(false) // TCP_USER_TIMEOUT is defined for TCP
	ln, err := lc.Listen(ctx, network(s.cfg.Addr), s.cfg.Addr)
	if err != nil {
		return listenError(s.cfg.Addr, err)
	}
	// Check the bound address, too: Listen resolves a name again, and may get
	// another address.
	loopback := ln.Addr().(*net.TCPAddr).IP.IsLoopback()
	if !loopback && !anywhere {
		ln.Close()
		return &NotLoopbackError{s.cfg.Addr}
	}
	if !loopback {
		switch {
		case s.cfg.Auth == nil:
			s.log.Warn("anyone who reaches this address can read and publish everything", "addr", ln.Addr().String())
		case !s.cookie.secure:
			s.log.Warn("keys and tokens travel in clear to this address; put HTTPS in front, and say so with --public-url https://…", "addr", ln.Addr().String())
		}
		s.hosts.anyIP = len(s.cfg.AllowHosts) == 0
	}
	s.listener = ln
	return nil
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
func isLoopback(ctx context.Context, addr string) (bool, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return false, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host) // parses an IP address, too
	if err != nil {
		return false, listenError(addr, err)
	}
	for _, ip := range ips {
		if !loopbackIP(ip) {
			return false, nil
		}
	}
	return len(ips) > 0, nil
}

func listenError(addr string, err error) error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Errorf("cannot listen on %s: the name %q is not known: %w", addr, dns.Name, err)
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("cannot listen on %s: another program listens there; stop it, or choose another address with --addr (%w)", addr, syscall.EADDRINUSE)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("cannot listen on %s: this machine does not have that address (%w)", addr, syscall.EADDRNOTAVAIL)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("cannot listen on %s: not permitted; ports below 1024 often need a privilege (%w)", addr, syscall.EACCES)
	}
	return fmt.Errorf("cannot listen on %s: %w", addr, err)
}

// loopbackIP reports whether ip is in 127.0.0.0/8 or ::1.
func loopbackIP(ip netip.Addr) bool { return ip.Unmap().IsLoopback() }
