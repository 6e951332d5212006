package server

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/tidings/internal/certs"
)

// handshakeTimeout is how long a TLS handshake may take.
const handshakeTimeout = 10 * time.Second

// The protocols of ALPN.
const (
	alpnHTTP2 = "h2"
	alpnHTTP1 = "http/1.1"
)

// handshakes makes TLS connections of TCP connections. net/http would do so itself, but then
// nobody could see the frames of HTTP/2. Its methods may be called concurrently.
//
// As many handshakes compute at a time as there are processors. The others wait for a turn: in
// the scheduler's queues, thousands of them would delay everything else, such as the next message.
// A client that only begins handshakes gets one turn for each. One that goes on waits with the others only once.
type handshakes struct {
	pair     *certs.Pair
	config   *tls.Config
	floods   *floods
	conns    *connections
	warnings *warnings
	turns    *turns // of those that compute
	failed   atomic.Uint64
}

func newHandshakes(pair *certs.Pair, f *floods, c *connections, w *warnings) *handshakes {
	return &handshakes{
		pair: pair, config: pair.Config(alpnHTTP2, alpnHTTP1),
		floods: f, conns: c, warnings: w,
		turns: newTurns(runtime.GOMAXPROCS(0), c.closed),
	}
}

// shake returns the TLS connection on conn: a [countedConn] for HTTP/2, and otherwise a
// [tls.Conn], the only type that net/http takes for TLS. After an error the caller closes conn.
func (h *handshakes) shake(conn net.Conn) (net.Conn, error) {
	conn.SetDeadline(time.Now().Add(handshakeTimeout))
	below := &turnConn{Conn: conn, of: h}
	secure := tls.Server(below, h.config)
	err := secure.Handshake()
	below.give()
	below.of = nil
	if err != nil {
		h.fail(conn, err)
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	h.conns.secured(conn)
	if secure.ConnectionState().NegotiatedProtocol == alpnHTTP2 {
		counted := newCountedConn(secure, h.floods)
		counted.strict = true
		return counted, nil
	}
	return secure, nil
}

// fail counts a handshake that has failed. A client that only leaves, as many probes do, is not
// worth a warning.
func (h *handshakes) fail(conn net.Conn, err error) {
	h.failed.Add(1)
	if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && looksLikeHTTP(plain.RecordHeader) {
		conn.SetWriteDeadline(time.Now().Add(goAwayTime))
		io.WriteString(conn, "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nThis address speaks HTTPS only. Begin the URL with https://.\n")
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		h.warnings.warn("a TLS handshake has failed", "remote", conn.RemoteAddr().String(), "error", err)
	}
}

// looksLikeHTTP reports whether a client has sent a request of HTTP in place of a handshake.
func looksLikeHTTP(start [5]byte) bool {
	switch string(start[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET":
		return true
	}
	return false
}

// A turnConn is the TCP connection below TLS. During the handshake it takes a turn when the client has
// sent something, and gives it up before it writes the answer, after which there is little to compute.
type turnConn struct {
	net.Conn
	of    *handshakes // nil after the handshake
	taken bool        // a turn
	again bool        // has had a turn before
}

// take waits for a turn, or until the server accepts no more connections.
func (c *turnConn) take() error {
	if c.taken {
		return nil
	}
	if !c.of.turns.try() {
		c.of.conns.late(c.Conn, true)
		if !c.of.turns.wait(c.again) {
			return net.ErrClosed
		}
		c.of.conns.late(c.Conn, false)
		if hungUp(c.Conn) {
			c.of.turns.give()
			return io.EOF // nobody would read the answer
		}
	}
	c.taken, c.again = true, true
	return nil
}

func (c *turnConn) give() {
	if c.taken {
		c.taken = false
		c.of.turns.give()
	}
}

// Read implements [net.Conn].
func (c *turnConn) Read(p []byte) (int, error) {
	if c.of == nil {
		return c.Conn.Read(p)
	}
	if !c.taken || !hasUnread(c.Conn) { // crypto/tls reads a large message in parts
		c.give()
	}
	n, err := c.Conn.Read(p)
	if err != nil {
		return n, err
	}
	if err := c.take(); err != nil {
		return 0, err // what has come is of no use
	}
	return n, nil
}

// Write implements [net.Conn].
func (c *turnConn) Write(p []byte) (int, error) {
	if c.of != nil {
		c.give()
	}
	return c.Conn.Write(p)
}

// The metrics of TLS.
var (
	handshakesMetric  = prometheus.NewDesc("tidings_tls_handshake_failures_total", "TLS handshakes that have failed.", nil, nil)
	pairMetric        = prometheus.NewDesc("tidings_tls_reload_failures_total", "Times that the changed files of the certificate and its key could not be used.", nil, nil)
	certificateMetric = prometheus.NewDesc("tidings_tls_certificate_not_after_seconds", "When the certificate expires, in seconds since 1970.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (h *handshakes) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(h, ch) }

// Collect implements [prometheus.Collector].
func (h *handshakes) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(handshakesMetric, prometheus.CounterValue, float64(h.failed.Load()))
	ch <- prometheus.MustNewConstMetric(pairMetric, prometheus.CounterValue, float64(h.pair.Failures()))
	ch <- prometheus.MustNewConstMetric(certificateMetric, prometheus.GaugeValue, float64(h.pair.Leaf().NotAfter.Unix()))
}
