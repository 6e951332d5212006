package bench

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// A target is the hub that is measured.
type target struct {
	base   string // the URL, without a slash at its end
	host   string // the Host header
	addr   string // host:port to dial
	path   string // the path of the base
	header http.Header
	tls    *tls.Config // nil for http

	// peer is the address that answered the probe. All connections go there.
	peer netip.AddrPort
}

// newTarget returns the target of a configuration. Its error is one line that says
// what is wrong.
func newTarget(c Config) (*target, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("--url: %q is not the base of a hub's API; want http://HOST:PORT or https://HOST, with the path where it is mounted, if any", c.URL)
	}
	if u.User != nil {
		return nil, errors.New("--url: a user and password cannot be in the URL; give --header 'Authorization: …'")
	}
	t := &target{host: u.Host, path: strings.TrimRight(u.EscapedPath(), "/"), header: c.Header.Clone()}
	t.base = u.Scheme + "://" + u.Host + t.path
	if h := t.header.Get("Host"); h != "" {
		t.host = h
		t.header.Del("Host")
	}
	port := u.Port()
	if u.Scheme == "https" {
		t.tls = c.TLS.Clone()
		if t.tls == nil {
			t.tls = new(tls.Config)
		}
		t.tls.NextProtos = []string{"http/1.1"}
		if t.tls.ServerName == "" {
			t.tls.ServerName = u.Hostname()
		}
		port = cmp.Or(port, "443")
	}
	port = cmp.Or(port, "80")
	t.addr = net.JoinHostPort(u.Hostname(), port)
	return t, nil
}

// request returns the head of a request for a path below the base. The request's
// body has the given size in bytes.
func (t *target) request(method, path string, body int) []byte {
	b := fmt.Appendf(nil, "%s %s%s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\n", method, t.path, path, t.host)
	if t.header.Get("User-Agent") == "" {
		b = append(b, "User-Agent: tidings-bench\r\n"...)
	}
	for name, values := range t.header {
		if name == "Accept" {
			continue
		}
		for _, v := range values {
			b = fmt.Appendf(b, "%s: %s\r\n", name, v)
		}
	}
	if method == "POST" {
		b = fmt.Appendf(b, "Content-Type: text/plain\r\nContent-Length: %d\r\n", body)
	}
	return append(b, "\r\n"...)
}

// eventsPath and topicPath return the paths of a topic's stream and of the topic.
func eventsPath(topic string) string { return "/events?topic=" + topic }
func topicPath(topic string) string  { return "/topics/" + topic }

// probe opens one stream and closes it again. It finds out whether the hub answers,
// and sets the peer. Its error is one line for the user.
func (t *target) probe(ctx context.Context, topic string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var peer atomic.Pointer[net.TCPAddr]
	transport := &http.Transport{
		TLSClientConfig: t.tls.Clone(), DisableCompression: true, Protocols: new(http.Protocols),
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, t.addr)
			if err == nil {
				a, _ := conn.RemoteAddr().(*net.TCPAddr)
				peer.Store(a)
			}
			return conn, err
		},
	}
	transport.Protocols.SetHTTP1(true)
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, "GET", t.base+eventsPath(topic), nil)
	if err != nil {
		return err
	}
	for name, values := range t.header {
		req.Header[name] = values
	}
	req.Host = t.host
	res, err := transport.RoundTrip(req)
	if err != nil {
		return t.unreachable(ctx, err)
	}
	defer res.Body.Close()
	if err := t.accepts(res, func() []byte {
		b, _ := io.ReadAll(io.LimitReader(res.Body, maxRefusal))
		return b
	}); err != nil {
		return err
	}
	if _, err := io.ReadFull(res.Body, make([]byte, 1)); err != nil {
		return fmt.Errorf("%s sends no first event within %v (%w): does a proxy buffer the response?", t.base+"/events", patience, err)
	}
	t.peer = peer.Load().AddrPort()
	t.peer = netip.AddrPortFrom(t.peer.Addr().Unmap(), t.peer.Port())
	return nil
}

// unreachable explains to the user why the server cannot be reached.
func (t *target) unreachable(ctx context.Context, err error) error {
	var dns *net.DNSError
	var unverified *tls.CertificateVerificationError
	var notTLS tls.RecordHeaderError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens at %s: is the server running there? --url sets the address", t.addr)
	case errors.As(err, &dns):
		return fmt.Errorf("cannot find the host of %s: %w", t.base, err)
	case errors.As(err, &unverified):
		return fmt.Errorf("the certificate of %s cannot be verified: %w", t.base, unverified.Err)
	case errors.As(err, &notTLS):
		return fmt.Errorf("%s does not speak TLS: use http in --url", t.addr)
	case ctx.Err() != nil:
		return fmt.Errorf("%s does not answer: %w", t.base, context.Cause(ctx))
	}
	return fmt.Errorf("cannot reach %s: %w", t.base, err)
}

// maxRefusal is how many bytes of a refusal's body are read.
const maxRefusal = 4 << 10

// accepts returns nil if the response to GET /events is a stream. Otherwise its error
// says in one line what it is. It calls body only if the body may say more.
func (t *target) accepts(res *http.Response, body func() []byte) error {
	if res.StatusCode != http.StatusOK {
		return t.refused("GET "+t.base+"/events", res, body())
	}
	typ, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(typ), "text/event-stream") {
		return fmt.Errorf("%s answers with the type %q, not with an event stream: is --url the base of the hub's API?", t.base+"/events", typ)
	}
	if enc := res.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return fmt.Errorf("%s answers with the Content-Encoding %q, which the bench did not ask for: switch it off", t.base+"/events", enc)
	}
	return nil
}

// refused describes a response other than 200 and 201 in one line: its status, the
// detail of its problem (RFC 9457), and what to do about it.
func (t *target) refused(request string, res *http.Response, body []byte) error {
	text := fmt.Sprintf("%s was answered with %d %s", request, res.StatusCode, http.StatusText(res.StatusCode))
	var problem struct{ Title, Detail string }
	if json.Unmarshal(body, &problem) == nil {
		problem.Detail = cmp.Or(problem.Detail, problem.Title)
		if problem.Detail != "" {
			text += ": " + oneLine(problem.Detail)
		}
	}
	switch res.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		text += " (--header 'Authorization: Bearer TOKEN' sends a token)"
	case http.StatusNotFound:
		text += " (--url must be the base of the hub's API)"
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		text += fmt.Sprintf(" (it redirects to %q; set --url to the final address)", res.Header.Get("Location"))
	}
	return errors.New(text)
}

// oneLine returns s in one line, cut to 300 bytes, without what could write over a terminal.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }), " ")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}
