package hub_test

import (
	"bufio"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/tidings/internal/memhttp"
	"example.com/tidings/internal/streamtest"
)

// A wire reads what comes, in the order and at the times of a bubble.
type wire struct {
	body  io.ReadCloser
	lines *bufio.Reader
}

func open(t *testing.T, s *memhttp.Server, header ...string) *wire {
	t.Helper()
	res := request(t, s, "GET", header...)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s %s", res.Status, res.Header.Get("Content-Type"))
	}
	return &wire{res.Body, bufio.NewReader(res.Body)}
}

// want compares the next lines, with E for the epoch and R for each retry. Comments are passed over where none is wanted.
func (w *wire) want(t *testing.T, want string) {
	t.Helper()
	var got strings.Builder
	for n := strings.Count(want, "\n"); n > 0; n-- {
		line, err := w.lines.ReadString('\n')
		if strings.HasPrefix(line, ":") && !strings.HasPrefix(want, ":") {
			n++
			continue
		}
		got.WriteString(line)
		if err != nil {
			got.WriteString(err.Error())
			break
		}
	}
	if masked := strings.ReplaceAll(streamtest.Mask(got.String()), streamtest.Epoch, "E"); masked != want {
		t.Fatalf("on the wire is\n%s\nwant\n%s", masked, want)
	}
}

// unavailable reads the answer of a hub that cannot take a stream, with an id if the client sent
// one. The response then breaks off, or is complete over HTTP/1.0.
func (w *wire) unavailable(t *testing.T, id string, complete bool) {
	t.Helper()
	if id != "" {
		id = "id: " + id + "\n"
	}
	rest, err := io.ReadAll(w.lines)
	want := "event: tidings.unavailable\nretry: R\ndata: {}\n" + id + "\n"
	if got := strings.Replace(streamtest.Mask(string(rest)), streamtest.Epoch, "E", 1); got != want || (err == nil) != complete {
		t.Errorf("the client is told %q, %v, want %q", got, err, want)
	}
	for _, wait := range streamtest.Retries(string(rest)) {
		if wait < 2*time.Second || wait > 8*time.Second {
			t.Errorf("the client is told to wait for %v", wait)
		}
	}
}

// end reads the last event of a stream, which names a reason, and returns its id. The response
// is complete, or breaks off.
func (w *wire) end(t *testing.T, reason string, complete bool) (id string) {
	t.Helper()
	rest, err := io.ReadAll(w.lines)
	m := lastEvent.FindStringSubmatch(streamtest.Mask(string(rest)))
	if m == nil || m[1] != reason || (err == nil) != complete {
		t.Fatalf("the stream ends with %q, %v, want the reason %s", rest, err, reason)
	}
	return strings.Replace(m[2], streamtest.Epoch, "E", 1)
}

var lastEvent = regexp.MustCompile("\\A(?::.*\n)*event: tidings.end\nretry: R\ndata: {\"reason\":\"([a-z]+)\"}\nid: (.+)\n\n\\z")

// event reads an event, as it is.
func (w *wire) event(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for {
		line, err := w.lines.ReadString('\n')
		if text.WriteString(line); err != nil {
			t.Fatalf("%v after %q", err, text.String())
		}
		if line == "\n" {
			return text.String()
		}
	}
}

// wantPrefix reads an event, and compares how it begins.
func (w *wire) wantPrefix(t *testing.T, want string) {
	t.Helper()
	if got := w.event(t); !strings.HasPrefix(got, want) {
		t.Fatalf("on the wire is\n%s\nwant\n%s", got, want)
	}
}
