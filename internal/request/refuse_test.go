package request_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/request"
)

// forbid refuses every request.
var forbid = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	request.Refuse(w, r, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "No.", http.StatusForbidden)
	}))
})

// sendFirst sends a request with a body of n bytes, and reads only then.
func sendFirst(c net.Conn, n int, fields string) (int, error) {
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%s\r\n", n, fields)
	if _, err := c.Write(make([]byte, n)); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// A client that sends all of its body before it reads gets the refusal.
func TestRefusalReachesItsClient(t *testing.T) {
	s := httptest.NewServer(forbid)
	defer s.Close()
	for _, n := range []int{1, 300_000, 5_000_000, 16 << 20} {
		for _, fields := range []string{"", "Connection: close\r\n"} {
			for range 5 {
				c, err := net.Dial("tcp", s.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				if status, err := sendFirst(c, n, fields); status != http.StatusForbidden || err != nil {
					t.Errorf("%d bytes, %q: status %d, %v", n, fields, status, err)
				}
				c.Close()
			}
		}
	}
}

// A refusal without a body leaves the connection open.
func TestRefusalWithoutBody(t *testing.T) {
	s := httptest.NewServer(forbid)
	defer s.Close()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for range 3 {
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != http.StatusForbidden || resp.Close {
			t.Fatalf("%+v, %v", resp, err)
		}
		io.Copy(io.Discard, resp.Body)
	}
}

// A client that stalls holds its connection for a bounded time. Then it is closed in stages,
// whatever the request says of it. A client that waits for 100 Continue is not waited for. At
// most 64 connections are held at once.
func TestRefusalIsBounded(t *testing.T) {
	const length = "Content-Length: 1000000\r\n"
	for _, tt := range []struct {
		fields string
		want   time.Duration
	}{
		{length, 5 * time.Second},
		{length + "Connection: close\r\n", 5 * time.Second},
		{length + "Expect: 100-continue\r\n", 0},
		{"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := &pipeListener{conns: make(chan net.Conn)}
			s := &http.Server{Handler: wrapped(forbid)}
			go s.Serve(l)
			defer s.Close()
			const most = 64
			conns := make([]net.Conn, most+1)
			for i := range conns {
				conns[i] = l.dial()
				fmt.Fprintf(conns[i], "POST / HTTP/1.1\r\nHost: a\r\n%s\r\n", tt.fields)
				if line, err := bufio.NewReader(conns[i]).ReadString('\n'); !strings.Contains(line, "403") || err != nil {
					t.Fatalf("connection %d: %q, %v", i, line, err)
				}
			}
			start := time.Now()
			ended := make([]time.Duration, len(conns))
			done := make(chan struct{})
			for i, c := range conns {
				go func() {
					io.Copy(io.Discard, c)
					ended[i] = time.Since(start)
					done <- struct{}{}
				}()
			}
			for range conns {
				<-done
			}
			const linger = time.Second // in which net/http waits for the client to close
			for i, d := range ended {
				want := tt.want
				if i == most {
					want = 0
				}
				if d < want || d == want && !strings.Contains(tt.fields, "Expect") || d > want+linger {
					t.Errorf("%q: connection %d ends after %v, want %v and a while", tt.fields, i, d, want)
				}
			}
		})
	}
}

// wrapped serves h with a wrapper of its ResponseWriter, as a program's middleware does.
func wrapped(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(wrapper{w}, r) })
}

type wrapper struct{ http.ResponseWriter }

func (w wrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// A pipeListener has connections in memory.
type pipeListener struct{ conns chan net.Conn }

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	return client
}

func (l *pipeListener) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l *pipeListener) Close() error {
	close(l.conns)
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }
