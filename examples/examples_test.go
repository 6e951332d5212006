// Package examples_test runs the example programs as a reader of the guide
// would: built, started as processes, and read with curl. What a program is
// held to is in testdata/wire: transcripts of the programs that they are
// counterparts of.
package examples_test

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// hang bounds what must happen soon. It is generous: a test that comes near it
// is about to fail.
const hang = 30 * time.Second

// programs are all of them, with the addresses that they take by themselves.
var programs = map[string]string{
	"ticks":             "127.0.0.1:3007",
	"notifications":     "127.0.0.1:3008",
	"notifications-sql": "127.0.0.1:3008",
	"launch":            "127.0.0.1:3010",
	"clock":             "127.0.0.1:3012",
	"metrics":           "127.0.0.1:3012",
}

var binDir string

func TestMain(m *testing.M) {
	flag.Parse()
	if n := flag.Lookup("test.parallel"); n.Value.String() == n.DefValue {
		n.Value.Set("16") // these tests wait more than they compute
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "examples")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binDir = dir
		args := []string{"build", "-tags", "goroutines", "-ldflags", "-s -w", "-o", dir + string(filepath.Separator)}
		for name := range programs {
			args = append(args, "./"+name)
		}
		build := exec.Command("go", args...)
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // SQLite included
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// counterpart returns the path of a program that the tests need and the project
// does not bring. In CI it must be there.
func counterpart(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, err)
	}
	return path
}

// missing ends a test that lacks something which CI must have.
func missing(t *testing.T, why any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// A server is a running program.
type server struct {
	cmd    *exec.Cmd
	addr   string
	url    string
	lines  chan string   // what it prints after its first line
	done   chan struct{} // closed when it has ended
	err    error         // of cmd.Wait, once done
	stderr bytes.Buffer  // once done
}

var listening = regexp.MustCompile(`^listening on http://(127\.0\.0\.1:[1-9][0-9]*)$`)

// start starts an example program on a free port.
func start(t *testing.T, name string, args ...string) *server {
	t.Helper()
	return startOn(t, "0", name, args...)
}

// startOn starts an example program on a port.
func startOn(t *testing.T, port, name string, args ...string) *server {
	t.Helper()
	return startCommand(t, port, exec.CommandContext(t.Context(), filepath.Join(binDir, name), args...))
}

// startCommand starts a server and returns when it listens. It has ended when
// the test has.
func startCommand(t *testing.T, port string, cmd *exec.Cmd) *server {
	t.Helper()
	s := run(t, port, cmd)
	select {
	case line := <-s.lines:
		m := listening.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("first line %q, want one that matches %s", line, listening)
		}
		s.addr, s.url = m[1], "http://"+m[1]
	case <-s.done:
		t.Fatalf("%s ended before it listened: %v\n%s", cmd.Path, s.err, s.stderr.String())
	case <-time.After(hang):
		t.Fatalf("%s does not listen", cmd.Path)
	}
	return s
}

// run starts a server and does not wait for it to listen.
func run(t *testing.T, port string, cmd *exec.Cmd) *server {
	t.Helper()
	s := &server{cmd: cmd, lines: make(chan string, 100), done: make(chan struct{})}
	cmd.Env = append(os.Environ(), "PORT="+port)
	cmd.Stderr = &s.stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.done)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			s.lines <- lines.Text()
		}
		s.err = cmd.Wait()
	}()
	t.Cleanup(func() {
		s.kill()
		if t.Failed() && s.stderr.Len() > 0 {
			t.Logf("%s wrote:\n%s", cmd.Path, s.stderr.String())
		}
	})
	return s
}

// kill ends the server without a chance to tidy up, and waits for its end.
func (s *server) kill() {
	s.cmd.Process.Kill()
	<-s.done
}

// wait waits for the server to end by itself.
func (s *server) wait(t *testing.T) {
	t.Helper()
	select {
	case <-s.done:
	case <-time.After(hang):
		t.Fatal("the server does not end")
	}
}

// post posts a message as JSON and returns the status and the body.
func post(ctx context.Context, url, body string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/messages", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// mustPost posts a message that is taken.
func mustPost(t *testing.T, url, body string) {
	t.Helper()
	status, reply, err := post(t.Context(), url, body)
	if err != nil || status != http.StatusOK || reply != "queued" {
		t.Fatalf("POST: %d %q, %v", status, reply, err)
	}
}

// open answers with a stream whose headers have arrived. It ends with the test.
func open(t *testing.T, url, lastEventID string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastEventID != "" {
		r.Header.Set("Last-Event-ID", lastEventID)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s", url, resp.Status)
	}
	return resp
}

// A raw is a response read from the connection itself, past what a client hides.
type raw struct {
	t      *testing.T
	r      *bufio.Reader
	status string
	header textproto.MIMEHeader
}

// dial sends a GET request as it is on a connection of its own, and returns
// when the headers of the response have arrived.
func dial(t *testing.T, addr, path, proto string) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(hang))
	fmt.Fprintf(conn, "GET %s %s\r\nHost: %s\r\n\r\n", path, proto, addr)
	r := bufio.NewReader(conn)
	head := textproto.NewReader(r)
	status, err := head.ReadLine()
	if err != nil {
		t.Fatal(err)
	}
	header, err := head.ReadMIMEHeader()
	if err != nil {
		t.Fatal(err)
	}
	return &raw{t, r, status, header}
}

// chunk returns the next chunk (RFC 9112, 7.1), empty for the last.
func (r *raw) chunk() string {
	r.t.Helper()
	line, err := r.r.ReadString('\n')
	if err != nil {
		r.t.Fatalf("instead of a chunk: %v", err)
	}
	var size int
	if _, err := fmt.Sscanf(line, "%x\r\n", &size); err != nil {
		r.t.Fatalf("chunk size %q: %v", line, err)
	}
	b := make([]byte, size+2)
	if _, err := io.ReadFull(r.r, b); err != nil {
		r.t.Fatal(err)
	}
	if !bytes.HasSuffix(b, []byte("\r\n")) {
		r.t.Fatalf("a chunk ends in %q", b[size:])
	}
	return string(b[:size])
}

// body returns the chunked body without its chunking.
func (r *raw) body() io.Reader { return httputil.NewChunkedReader(r.r) }

// curlN starts curl -N and returns when it has the headers of a stream, which
// come before any event. stdout is what it shows of the body.
func curlN(t *testing.T, url string) (curl *exec.Cmd, stdout io.Reader, head []string) {
	t.Helper()
	// -i would hold the headers back until the body begins; -v does not.
	curl = exec.CommandContext(t.Context(), counterpart(t, "curl"), "-s", "-v", "-N", url)
	stdout, err := curl.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := curl.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := curl.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		line, ok := strings.CutPrefix(lines.Text(), "< ")
		if ok && line == "" {
			go io.Copy(io.Discard, stderr)
			return curl, stdout, head
		}
		if ok {
			head = append(head, line)
		}
	}
	t.Fatalf("curl has ended after the headers %q", head)
	return nil, nil, nil
}
