package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A stream reads what comes, in the order and at the times of a bubble.
type stream struct {
	res   *http.Response
	lines *bufio.Reader
}

// listen opens a stream.
func (s *site) listen(t *testing.T, path string, header ...string) *stream {
	t.Helper()
	res := s.request(t, "GET", path, nil, header...)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		b, _ := io.ReadAll(res.Body)
		t.Fatalf("%s %s %s", res.Status, res.Header.Get("Content-Type"), b)
	}
	return &stream{res, bufio.NewReader(res.Body)}
}

// next returns the next event as it is on the wire, without the blank line.
// Comments are passed over.
func (s *stream) next(t *testing.T) string {
	t.Helper()
	var got strings.Builder
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the stream ends with %q, %v", got.String()+line, err)
		}
		if line == "\n" {
			return mask(got.String())
		}
		if !strings.HasPrefix(line, ":") {
			got.WriteString(line)
		}
	}
}

// want reads events and compares.
func (s *stream) want(t *testing.T, events ...string) {
	t.Helper()
	for _, want := range events {
		if got := s.next(t); got != want {
			t.Fatalf("on the wire is\n%s\nwant\n%s", got, want)
		}
	}
}

// event returns a message as it is on the wire.
func event(seq int, data string) string {
	return fmt.Sprintf("data: %s\nid: %s-%d\n", data, epoch, seq)
}

// breaksOff asserts that nothing more comes, and that the response is not complete.
func (s *stream) breaksOff(t *testing.T) {
	t.Helper()
	if rest, err := io.ReadAll(s.lines); err == nil || len(rest) > 0 {
		t.Errorf("the stream ends with %q, %v, want it broken off", rest, err)
	}
}
