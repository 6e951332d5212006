package hub_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/stats"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// The tests in the files path*_test.go say what a stream of ServeEvents promises over
// real connections, whichever way it takes.

// patience catches hangs.
const patience = time.Minute

// A path is a way that a stream may take.
type path string

const (
	takenOver path = "taken over"
	http11    path = "HTTP 1.1" // through net/http, as all that follow
	http10    path = "HTTP 1.0"
	h2c       path = "h2c"
	h2        path = "HTTP 2 over TLS"
	iterator  path = "iterator" // Subscribe, with a handler of the test's on it
)

// everyPath are those that the suite runs on. tcpPaths are those with one stream a
// connection, and nothing of ours before the first byte of the response. ownPaths are those
// of ServeEvents.
var (
	everyPath = []path{takenOver, http11, http10, h2c, h2, iterator}
	ownPaths  = []path{takenOver, http11, http10, h2c, h2}
	tcpPaths  = []path{takenOver, http11, http10}
)

// on runs a test for each of some paths, side by side.
func on(t *testing.T, paths []path, f func(*testing.T, path)) {
	inTurn(t, paths, func(t *testing.T, p path) {
		t.Parallel()
		f(t, p)
	})
}

// inTurn runs a test that depends on real time for each of some paths, one after the other.
func inTurn(t *testing.T, paths []path, f func(*testing.T, path)) {
	for _, p := range paths {
		t.Run(string(p), func(t *testing.T) {
			p.skip(t)
			f(t, p)
		})
	}
}

func (p path) skip(t *testing.T) {
	t.Helper()
	if p == takenOver && runtime.GOOS != "linux" {
		t.Skip("connections are taken over on Linux only")
	}
}

// seesBreak reports whether a client can tell a response that was broken off from one that
// is complete.
func (p path) seesBreak() bool { return p != http10 }

// begun returns how many streams have taken the path.
func (s *station) begun() int {
	switch paths := s.Stats().Paths; s.path {
	case takenOver:
		return int(paths[stats.PathTakenOver].Begun)
	case iterator:
		return int(s.iterating.Load())
	default:
		return int(paths[stats.PathNetHTTP].Begun)
	}
}

// A station serves a hub over TCP. Requests say what they want as a query: topic, from,
// lag, format and live.
type station struct {
	*hub.Hub
	path path
	addr string
	http *http.Server

	writeTimeout time.Duration
	iterating    atomic.Int64 // sequences of Subscribe that were begun
}

// station returns one on a log; nil is one in memory. configure, which may be nil,
// changes the server before it starts. The path's own is not needed in opts.
func (p path) station(t *testing.T, log eventlog.Log, opts *hub.Options, configure func(*http.Server)) *station {
	t.Helper()
	o := hub.Options{}
	if opts != nil {
		o = *opts
	}
	o.TakeOver = p != http11
	if o.WriteTimeout == 0 {
		o.WriteTimeout = patience // a client that waits for its turn on a busy machine does not stall
	}
	s := &station{Hub: newHub(t, log, &o), path: p, writeTimeout: o.WriteTimeout}
	s.http = &http.Server{
		Handler:     http.HandlerFunc(s.serve),
		ErrorLog:    slog.NewLogLogger(slog.DiscardHandler, 0),
		ConnContext: holdsLittle,
	}
	if configure != nil {
		configure(s.http)
	}
	switch p {
	case h2c:
		s.http.Protocols = new(http.Protocols)
		s.http.Protocols.SetUnencryptedHTTP2(true)
		s.addr = s.listen(t, s.http.Serve)
	case h2:
		s.http.TLSConfig = certified().TLS.Clone()
		s.addr = s.listen(t, func(l net.Listener) error { return s.http.ServeTLS(l, "", "") })
	default:
		s.addr = s.listen(t, s.http.Serve)
	}
	return s
}

// certified is a server with a certificate, for tests to borrow.
var certified = sync.OnceValue(func() *httptest.Server {
	s := httptest.NewUnstartedServer(nil)
	s.EnableHTTP2 = true
	s.StartTLS()
	s.Close()
	return s
})

// listen has serve serve a port of its own.
func (s *station) listen(t *testing.T, serve func(net.Listener) error) (addr string) {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		serve(l)
	}()
	t.Cleanup(func() {
		s.http.Close()
		l.Close()
		<-served
	})
	return l.Addr().String()
}

// small is how much a socket is asked to hold: two packets of the loopback's, since
// with less each byte waits for a timer of TCP's.
const small = 128 << 10

// holdsLittle has the socket of a new connection hold little.
func holdsLittle(ctx context.Context, conn net.Conn) context.Context {
	if conn, ok := conn.(*net.TCPConn); ok {
		conn.SetWriteBuffer(small)
	}
	return ctx
}

// serve is the handler.
func (s *station) serve(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var sub hub.Subscription
	var errs [4]error
	sub.Filters, errs[3] = topics.ParseFilters(q["topic"]...)
	sub.From, errs[0] = hub.ParseFrom(q.Get("from"))
	sub.Lag, errs[1] = hub.ParseLag(q.Get("lag"))
	sub.Format, errs[2] = hub.ParseFormat(q.Get("format"))
	sub.Live = q.Get("live") == "true"
	for _, err := range errs {
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	s.serveSub(w, r, sub)
}

// serveSub serves a subscription on the station's path.
func (s *station) serveSub(w http.ResponseWriter, r *http.Request, sub hub.Subscription) {
	if s.path != iterator {
		s.ServeEvents(w, r, sub)
		return
	}
	sub.LastEventID = sse.LastEventID(r)
	events, err := s.Iterate(r.Context(), sub)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	s.iterating.Add(1)
	sse.Serve(w, r, events, &sse.ServeOptions{WriteTimeout: s.writeTimeout})
}

// dial opens a connection, whose socket holds little of what was not read.
func (s *station) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	tcp := conn.(*net.TCPConn)
	tcp.SetReadBuffer(small)
	return tcp
}

// request writes a request of HTTP/1. The query is as "topic=a&from=start".
func (s *station) request(t *testing.T, conn net.Conn, query string, header ...string) {
	t.Helper()
	if _, err := io.WriteString(conn, s.requestText(query, header...)); err != nil {
		t.Fatal(err)
	}
}

// stream opens a stream, and asserts that it is one.
func (s *station) stream(t *testing.T, query string, header ...string) *client {
	t.Helper()
	begun := s.begun()
	c, err := s.get(t.Context(), s.dial(t), query, header...)
	if err != nil {
		t.Fatal(err)
	}
	if c.res.StatusCode != 200 || c.res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s %s", c.res.Status, c.res.Header.Get("Content-Type"))
	}
	// The hub counts a moment after the client has the header.
	eventually(t, "the stream takes the path", func() bool { return s.begun() > begun })
	return c
}

// get sends a request over a connection, and returns when it has the response's header.
func (s *station) get(ctx context.Context, conn net.Conn, query string, header ...string) (*client, error) {
	transport := &http.Transport{
		DialContext:    func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return s.encrypt(ctx, conn) },
		HTTP2:          &http.HTTP2Config{MaxReceiveBufferPerStream: small, MaxReceiveBufferPerConnection: small},
	}
	scheme := "http"
	switch s.path {
	case h2c:
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	case h2:
		scheme = "https"
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetHTTP2(true)
	default:
		if _, err := io.WriteString(conn, s.requestText(query, header...)); err != nil {
			return nil, err
		}
		return newClient(conn)
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), "GET", scheme+"://"+s.addr+"/?"+query, nil)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	return &client{wire: wire{res.Body, bufio.NewReader(res.Body)}, conn: conn, res: res}, nil
}

// encrypt returns a connection over another one.
func (s *station) encrypt(ctx context.Context, conn net.Conn) (net.Conn, error) {
	roots := x509.NewCertPool()
	roots.AddCert(certified().Certificate())
	secure := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "example.com", NextProtos: []string{"h2"}})
	return secure, secure.HandshakeContext(ctx)
}

// requestText returns a request of HTTP/1.
func (s *station) requestText(query string, header ...string) string {
	version := "1.1"
	if s.path == http10 {
		version = "1.0"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "GET /?%s HTTP/%s\r\nHost: hub.test\r\n", query, version)
	for i := 0; i < len(header); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", header[i], header[i+1])
	}
	return b.String() + "\r\n"
}

// response reads the header of a response.
func (s *station) response(t *testing.T, conn net.Conn) *client {
	t.Helper()
	c, err := newClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newClient(conn net.Conn) (*client, error) {
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, err
	}
	return &client{wire: wire{res.Body, bufio.NewReader(res.Body)}, conn: conn, res: res}, nil
}

// stall has a client stop reading in the middle of a message on a topic. What it returns
// reads the rest of that.
func (s *station) stall(t *testing.T, c *client, topic string) (readOn func()) {
	t.Helper()
	message := strings.Repeat("0123456789abcdef", 64<<10) // more than the sockets hold
	publish(t, s.Hub, topic+":"+message)
	for next, _ := c.lines.Peek(1); string(next) == ":"; next, _ = c.lines.Peek(1) {
		c.lines.ReadString('\n') // a keep-alive
	}
	begin := make([]byte, len("data: ")+16)
	if _, err := io.ReadFull(c.lines, begin); err != nil || string(begin) != "data: "+message[:16] {
		t.Fatalf("then comes %q, %v", begin, err)
	}
	return func() {
		t.Helper()
		line, err := c.lines.ReadString('\n')
		if err != nil || line != message[16:]+"\n" {
			t.Fatalf("the rest of it is %.20q…, %v", line, err)
		}
		if ev := c.event(t); ev.Data != "" || ev.Type != "" || ev.ID == "" {
			t.Fatalf("it ends with %+v", ev)
		}
	}
}

// data returns the data of "topic:data" messages.
func data(messages []string) []string {
	all := make([]string, len(messages))
	for i, m := range messages {
		_, all[i], _ = strings.Cut(m, ":")
	}
	return all
}

// publishSeen publishes messages, and waits until the hub has seen each: retention may
// be too short for a hub that lags, too.
func (s *station) publishSeen(t *testing.T, messages ...string) {
	t.Helper()
	for _, m := range messages {
		p, err := eventlog.ParsePosition(publish(t, s.Hub, m)[0])
		if err != nil {
			t.Fatal(err)
		}
		untilHead(s.Hub, p.Seq)
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !is() {
		if ctx.Err() != nil {
			t.Fatalf("it does not come to be that %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// vacated waits until all places are given back.
func (s *station) vacated(t *testing.T) {
	t.Helper()
	eventually(t, "no place is taken", func() bool {
		open, places := s.Streams()
		return open == 0 && places == 0
	})
}

// query returns a query for topics, with pairs of other parameters.
func query(topics string, more ...string) string {
	q := url.Values{"topic": strings.Fields(topics)}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return q.Encode()
}
