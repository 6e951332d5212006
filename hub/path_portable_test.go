package hub_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/hub/stats"
)

// What cannot be taken over takes the way through net/http, and is as good.
func TestPathOfWhatCannotBeTakenOver(t *testing.T) {
	takenOver.skip(t)
	h2 := new(http.Protocols)
	h2.SetUnencryptedHTTP2(true)
	both := new(http.Protocols)
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	withTLS := httptest.NewUnstartedServer(nil)
	withTLS.StartTLS()
	defer withTLS.Close()
	for _, tt := range []struct {
		name      string
		configure func(*http.Server)
		transport *http.Transport
		method    string
		body      string
	}{
		{"HTTP/2", func(s *http.Server) { s.Protocols = both }, &http.Transport{Protocols: h2}, "GET", ""},
		{"TLS", nil, withTLS.Client().Transport.(*http.Transport), "GET", ""},
		{"a wrapper that hides Hijack", func(s *http.Server) { s.Handler = hideHijack(s.Handler) }, &http.Transport{}, "GET", ""},
		{"POST", nil, &http.Transport{}, "POST", ""},
		{"a body", nil, &http.Transport{}, "GET", "some"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := takenOver.station(t, nil, nil, tt.configure)
			scheme := "http://"
			if tt.name == "TLS" {
				scheme = "https://"
				s.addr = s.listen(t, func(l net.Listener) error { return s.http.Serve(tls.NewListener(l, withTLS.TLS)) })
			}
			defer tt.transport.CloseIdleConnections()
			req, err := http.NewRequestWithContext(t.Context(), tt.method, scheme+s.addr+"/?topic=a", nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.body != "" {
				req.Body = io.NopCloser(strings.NewReader(tt.body))
			}
			res, err := tt.transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			c := &client{wire: wire{res.Body, bufio.NewReader(res.Body)}, res: res}
			c.opened(t)
			publish(t, s.Hub, "a:1")
			c.expect(t, "1")
			if figures := s.Stats(); figures.Paths[stats.PathNetHTTP].Streams != 1 || figures.Paths[stats.PathTakenOver].Begun != 0 || figures.Subscribers != 1 {
				t.Errorf("%+v", figures)
			}
			s.Drain()
			c.end(t, hub.EndStopping, false)
		})
	}
}

// hideHijack wraps the ResponseWriter of a handler in one that can only be flushed.
func hideHijack(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(struct {
			http.ResponseWriter
			http.Flusher
		}{w, w.(http.Flusher)}, r)
	})
}

// A wrapper that says what it wraps is none.
func TestPathThroughAWrapper(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		s := p.station(t, nil, nil, func(s *http.Server) {
			inner := s.Handler
			s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Wrapped", "yes")
				inner.ServeHTTP(unwrapper{w}, r)
			})
		})
		c := s.stream(t, query("a"))
		if c.opened(t).res.Header.Get("X-Wrapped") != "yes" {
			t.Error("the wrapper's header is missing")
		}
		publish(t, s.Hub, "a:1")
		c.expect(t, "1")
	})
}

type unwrapper struct{ w http.ResponseWriter }

func (u unwrapper) Header() http.Header         { return u.w.Header() }
func (u unwrapper) Write(b []byte) (int, error) { return u.w.Write(b) }
func (u unwrapper) WriteHeader(status int)      { u.w.WriteHeader(status) }
func (u unwrapper) Unwrap() http.ResponseWriter { return u.w }

// HTTP/1.0 has no chunks: the end of the connection is that of the stream.
func TestPathOfHTTP10(t *testing.T) {
	on(t, []path{takenOver, http11}, func(t *testing.T, p path) {
		s := p.station(t, nil, nil, nil)
		conn := s.dial(t)
		if _, err := io.WriteString(conn, "GET /?topic=a HTTP/1.0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		c := s.response(t, conn)
		if c.res.TransferEncoding != nil {
			t.Errorf("the body is %q", c.res.TransferEncoding)
		}
		c.opened(t)
		publish(t, s.Hub, "a:1")
		c.expect(t, "1")
		if figures := s.Stats(); figures.Paths[stats.PathNetHTTP].Streams != 1 || figures.Paths[stats.PathTakenOver].Begun != 0 {
			t.Errorf("%+v", figures)
		}
		s.Drain()
		c.end(t, hub.EndStopping, true)
	})
}

// A client that sends bytes after its request is not heard, and goes on.
func TestPathOfWhoSendsMore(t *testing.T) {
	on(t, []path{takenOver, http11}, func(t *testing.T, p path) {
		s := p.station(t, nil, nil, nil)
		conn := s.dial(t)
		if _, err := io.WriteString(conn, "GET /?topic=a HTTP/1.1\r\nHost: x\r\n\r\nGET /?topic=b HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		c := s.response(t, conn).opened(t)
		for i := range 5 {
			if p == takenOver { // net/http leaves it where it is
				fmt.Fprintf(conn, "more %d", i)
			}
			publish(t, s.Hub, fmt.Sprintf("a:%d", i), "b:x")
			c.expect(t, fmt.Sprint(i))
		}
		conn.Close()
		s.vacated(t)
	})
}

// Where a listener wraps connections that is only found out with the first: its client
// is told to come back after its id. After that no connection is taken over.
func TestPathOfAListenerThatWraps(t *testing.T) {
	takenOver.skip(t)
	s := takenOver.station(t, nil, nil, nil)
	s.addr = s.listen(t, func(l net.Listener) error { return s.http.Serve(wrappingListener{l}) })
	ids := publish(t, s.Hub, "a:1", "a:2")
	untilHead(s.Hub, 2)
	conn := s.dial(t)
	s.request(t, conn, query("a"), "Last-Event-ID", ids[0], "Accept", "text/event-stream")
	first := s.response(t, conn)
	if first.res.StatusCode != 200 || first.res.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%s %v", first.res.Status, first.res.Header)
	}
	first.unavailable(t, "E-1", false)
	s.vacated(t)
	publish(t, s.Hub, "a:3")
	for n := range 2 {
		conn := s.dial(t)
		s.request(t, conn, query("a"), "Last-Event-ID", ids[0])
		c := s.response(t, conn)
		c.opened(t).expect(t, "2", "3")
		if figures := s.Stats(); figures.Paths[stats.PathNetHTTP].Streams != n+1 || figures.Paths[stats.PathTakenOver].Begun != 0 || figures.Subscribers != n+1 {
			t.Errorf("%+v", figures)
		}
	}
}

type wrappingListener struct{ net.Listener }

func (l wrappingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return struct{ net.Conn }{conn}, nil
}

// A negative write timeout is none, on either way.
func TestPathWithoutWriteTimeout(t *testing.T) {
	on(t, ownPaths, func(t *testing.T, p path) {
		s := p.station(t, nil, &hub.Options{WriteTimeout: -1, KeepAlive: 100 * time.Millisecond}, nil)
		c := s.stream(t, query("a")).opened(t)
		readOn := s.stall(t, c, "a")
		other := s.stream(t, query("b")).opened(t)
		for range 10 { // so that some time has passed, as the hub counts it
			other.line(t)
		}
		readOn()
	})
}
