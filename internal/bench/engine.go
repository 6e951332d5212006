package bench

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"syscall"
)

// An engine holds the connections of the subscribers. It opens one for each, sends
// the request, and passes the bytes of the response to the subscriber.
type engine interface {
	// stop closes all connections. When it returns, the engine no longer
	// touches the subscribers.
	stop()
}

// connecting is the largest number of streams that open at the same time.
const connecting = 256

// perSource is how many connections use the same source address, which has some
// 28,000 ports.
const perSource = 20_000

// sourceOf returns the source address of a subscriber's connection. It is invalid
// if the system should choose. Only loopback has several addresses.
func sourceOf(peer netip.Addr, index int) netip.Addr {
	if n := index / perSource; loopbackNet && n > 0 && peer.Is4() && peer.IsLoopback() {
		return netip.AddrFrom4([4]byte{127, 0, byte(1 + n), 1})
	}
	return netip.Addr{}
}

// start starts the best engine for a run.
func start(r *run) engine {
	if !r.cfg.Goroutines && r.target.tls == nil {
		if e := startSockets(r); e != nil {
			return e
		}
	}
	return startGoroutines(r)
}

// dial opens a connection to the peer, with TLS if the target uses it.
func (t *target) dial(ctx context.Context, source netip.Addr) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1}
	if source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
		d.Control = func(_, _ string, c syscall.RawConn) error { return latePort(c) }
	}
	conn, err := d.DialContext(ctx, "tcp", t.peer.String())
	if err != nil || t.tls == nil {
		return conn, err
	}
	secure := tls.Client(conn, t.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}
