package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
)

// A lateReader is a client that sends all of a request before it reads.
type lateReader struct {
	name, version, fields, body string
	waits                       bool // for 100 Continue, before it sends its body
}

// ask sends a request, and returns the answer, after which the connection ends. err tells of the
// first thing that went wrong.
func (l lateReader) ask(addr, path string) (status int, body string, err error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(c)
	fmt.Fprintf(c, "POST %s HTTP/%s\r\nHost: x\r\n%s\r\n", path, l.version, l.fields)
	if l.waits {
		line, err := r.Peek(len("HTTP/1.1 100 Continue\r\n\r\n"))
		if err != nil {
			return 0, "", err
		}
		if l.waits = strings.HasPrefix(string(line), "HTTP/1.1 100 "); l.waits {
			r.Discard(len(line))
		} else {
			l.body = ""
		}
	}
	if _, err := io.WriteString(c, l.body); err != nil {
		return 0, "", fmt.Errorf("the server does not take the body: %w", err)
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, "", err
	}
	b, err := io.ReadAll(res.Body)
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	return res.StatusCode, string(b), err
}

// A client that sends all of a body that is too large before it reads gets the problem, however
// the body is sent. One that waits for 100 Continue sends no body whose length is too large.
func TestTooLargeBodies(t *testing.T) {
	h, err := hub.New(t.Context(), eventlog.NewMemory(nil), &hub.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(httpapi.New(h, nil))
	t.Cleanup(func() { s.Close(); h.Close() })
	const length, chunked = "Content-Length: 5000000\r\n", "Transfer-Encoding: chunked\r\n"
	whole := strings.Repeat("x", 5_000_000)
	chunks := strings.Repeat("186a0\r\n"+whole[:100_000]+"\r\n", 50) + "0\r\n\r\n"
	for _, l := range []lateReader{
		{name: "length", version: "1.1", fields: length, body: whole},
		{name: "length, close", version: "1.1", fields: length + "Connection: close\r\n", body: whole},
		{name: "length, expects 100", version: "1.1", fields: length + "Expect: 100-continue\r\n", waits: true},
		{name: "chunks", version: "1.1", fields: chunked, body: chunks},
		{name: "chunks, close", version: "1.1", fields: chunked + "Connection: close\r\n", body: chunks},
		{name: "chunks, expects 100", version: "1.1", fields: chunked + "Expect: 100-continue\r\n", body: chunks, waits: true},
		{name: "HTTP 1.0", version: "1.0", fields: length, body: whole},
		{name: "HTTP 1.0, keep-alive", version: "1.0", fields: length + "Connection: keep-alive\r\n", body: whole},
	} {
		for path, want := range map[string]int{"/topics/a": 413, "/nowhere": 404} {
			t.Run(l.name+path, func(t *testing.T) {
				t.Parallel()
				for range 3 {
					status, body, err := l.ask(s.Listener.Addr().String(), path)
					if status != want || !strings.HasPrefix(body, `{"type":"urn:tidings:problem:`) || err != nil {
						t.Errorf("the answer is %d %q, %v", status, body, err)
					}
				}
			})
		}
	}
}
