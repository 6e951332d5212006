package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/server"
	"example.com/tidings/internal/streamtest"
	"example.com/tidings/sse"
)

// The versions of HTTP that curl speaks without TLS.
var curlVersions = []struct {
	name  string
	flag  string
	proto string // as the server sees it

	// broken is curl's exit status for a broken response. HTTP/1.0 ends a response by
	// closing the connection, so curl cannot notice (RFC 1945, 7.2.2).
	broken int
}{
	{"HTTP 1.0", "-0", "HTTP/1.0", 0},
	{"HTTP 1.1", "--http1.1", "HTTP/1.1", 18},             // partial file
	{"HTTP 2", "--http2-prior-knowledge", "HTTP/2.0", 92}, // stream not closed cleanly
}

// A curling is a running curl.
type curling struct {
	*receiver
	cmd    *exec.Cmd
	stdout bytes.Buffer // complete after exit
	stderr bytes.Buffer
}

// curl starts curl. It ends with the test.
func curl(t *testing.T, args ...string) *curling {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	c := &curling{cmd: exec.CommandContext(ctx, program(t, "curl"), append([]string{"-q", "-sS", "--noproxy", "*"}, args...)...)}
	c.cmd.Stderr = &c.stderr
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.receiver = receive(io.TeeReader(stdout, &c.stdout))
	return c
}

// exit waits until curl has ended, and returns its exit status.
func (c *curling) exit(t *testing.T) int {
	t.Helper()
	if err := c.receiver.end(t); err != nil {
		t.Fatalf("reading the output of curl: %v", err)
	}
	err := c.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("curl: %v\n%s", err, &c.stderr)
	}
	return 0
}

// Over every version of HTTP, curl -N prints each event when it is sent, and
// exits with 0 when the sequence returns.
func TestCurlPrintsEventsAsTheyCome(t *testing.T) {
	t.Parallel()
	for _, v := range curlVersions {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			src := newSource()
			c := curl(t, "-N", v.flag, serve(t, src.handler(nil)).URL)
			st := src.next(t)
			if got := st.request.Proto; got != v.proto {
				t.Errorf("the request is over %s, want %s", got, v.proto)
			}
			for i := range 5 {
				ev := sse.Event{ID: fmt.Sprint(i), Type: "count", Data: fmt.Sprintf("event\n%d", i)}
				st.send(t, ev)
				c.want(t, ev)
			}
			st.end(t)
			if got := c.exit(t); got != 0 {
				t.Errorf("curl exits with %d after a clean end, want 0\n%s", got, &c.stderr)
			}
		})
	}
}

// When the sequence yields an error, curl prints the events before it and then fails.
// Over HTTP/1.0 it cannot notice.
func TestCurlFailsWhenTheSequenceFails(t *testing.T) {
	t.Parallel()
	for _, v := range curlVersions {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			src := newSource()
			c := curl(t, "-N", v.flag, serve(t, src.handler(nil)).URL)
			st := src.next(t)
			st.send(t, sse.Event{Data: "before"})
			c.want(t, sse.Event{Data: "before"})
			st.fail(t, errors.New("the secret reason"))
			if got := c.exit(t); got != v.broken {
				t.Errorf("curl exits with %d after an error, want %d\n%s", got, v.broken, &c.stderr)
			}
		})
	}
}

// The iterator ends when curl is killed.
func TestCurlLeavingEndsTheIterator(t *testing.T) {
	t.Parallel()
	for _, v := range curlVersions {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			src := newSource()
			c := curl(t, "-N", v.flag, serve(t, src.handler(nil)).URL)
			st := src.next(t)
			st.send(t, sse.Event{Data: "hello"})
			c.want(t, sse.Event{Data: "hello"})
			if err := c.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			st.wait(t)
			_ = c.cmd.Wait()
		})
	}
}

// A HEAD request gets the headers of the stream and ends. The iterator does not run.
func TestCurlHead(t *testing.T) {
	t.Parallel()
	for _, v := range curlVersions {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			src := newSource()
			srv := serve(t, src.handler(nil))
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			out, err := exec.CommandContext(ctx, program(t, "curl"), "-q", "-sS", "--noproxy", "*", "-I", v.flag, srv.URL).CombinedOutput()
			if err != nil {
				t.Fatalf("curl -I: %v\n%s", err, out)
			}
			status, rest, _ := strings.Cut(string(out), "\r\n")
			if !strings.Contains(status, " 200") {
				t.Errorf("status line %q, want 200", status)
			}
			headers := "\r\n" + strings.ToLower(rest)
			for _, want := range []string{
				"content-type: text/event-stream", "cache-control: no-cache", "x-accel-buffering: no",
			} {
				if !strings.Contains(headers, "\r\n"+want+"\r\n") {
					t.Errorf("the headers lack %q:\n%s", want, out)
				}
			}
			select {
			case <-src.next(t).ranged:
				t.Error("the iterator was run")
			default:
			}
		})
	}
}

// One curl prints, byte for byte, the message that another one posts to /messages. When the
// server stops, it says why, and fails.
func TestCurlReadsWhatCurlPosts(t *testing.T) {
	t.Parallel()
	for _, v := range curlVersions {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			s := startSite(t, server.Config{H2C: true})
			reader := curl(t, "-N", v.flag, s.URL+"/events")
			at := reader.open(t)
			poster := curl(t, v.flag, s.URL+"/messages", "-H", "content-type: application/json", "-d", `{"user":"ada","text":"hello"}`)
			if got := poster.exit(t); got != 0 || poster.stdout.String() != "queued" {
				t.Errorf("posting exits with %d and prints %q, want 0 and \"queued\"", got, &poster.stdout)
			}
			next := eventlog.Position{Epoch: at.Epoch, Seq: at.Seq + 1}.String()
			reader.want(t, sse.Event{ID: next, Data: `{"user":"ada","text":"hello"}`})
			s.stop()
			reader.want(t, sse.Event{ID: next, Type: hub.EndEventType, Data: `{"reason":"stopping"}`})
			if got := reader.exit(t); (got == 0) != (v.broken == 0) {
				t.Errorf("reading exits with %d when the server stops, and with %d when a stream breaks\n%s", got, v.broken, &reader.stderr)
			}
			want := streamtest.Mask("event: tidings.open\n" + streamtest.Retry + "data: {\"topics\":[\"messages\"],\"position\":\"" + at.String() + "\",\"keepAlive\":15000}\nid: " + at.String() + "\n\n" +
				"data: {\"user\":\"ada\",\"text\":\"hello\"}\nid: " + next + "\n\n" +
				"event: tidings.end\n" + streamtest.Retry + "data: {\"reason\":\"stopping\"}\nid: " + next + "\n\n")
			if got := streamtest.Mask(reader.stdout.String()); got != want {
				t.Errorf("curl prints %q, want %q", got, want)
			}
		})
	}
}
