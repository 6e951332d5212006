//go:build unix

package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	main "example.com/tidings/cmd/tidings"
	"example.com/tidings/internal/streamtest"
)

// patience is a limit that turns a hang into a failure.
const patience = 30 * time.Second

var binary string // the program, built by TestMain

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "tidings")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "tidings")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make dist does
	build.Stderr = os.Stderr
	code := 1
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "go build:", err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// command returns a command that runs the program in a working folder of its own.
// Its environment has only the TIDINGS_ variables of env.
func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = t.TempDir()
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TIDINGS_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// run runs the program to its end.
func run(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := command(t, env, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// A process is the program while it serves.
type process struct {
	cmd    *exec.Cmd
	url    string
	others []string // the lines after the first, for --admin-addr and --http-redirect
	stdout *bufio.Reader
	stderr *bytes.Buffer // complete after wait
	exited chan error
}

// serve starts "tidings serve" and returns when it listens.
func serve(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		p, line, err := tryServe(t, env, args...)
		var ok bool
		if p.url, ok = strings.CutPrefix(strings.TrimSuffix(line, "\n"), "listening on "); ok {
			return p
		}
		p.cmd.Process.Kill()
		p.wait(t)
		// For a moment, another connection may use a port that a server has just left.
		if !strings.Contains(p.stderr.String(), "another program listens there") || time.Now().After(deadline) {
			t.Fatalf("the first line is %q (%v); stderr: %s", line, err, p.stderr)
		}
	}
}

// tryServe starts the program and returns its first line, or why there is none.
func tryServe(t *testing.T, env []string, args ...string) (p *process, line string, err error) {
	t.Helper()
	p = &process{cmd: command(t, env, append([]string{"serve"}, args...)...), stderr: new(bytes.Buffer), exited: make(chan error, 1)}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewReader(stdout)
	line, err = p.stdout.ReadString('\n')
	p.readOthers(args)
	go func() {
		io.Copy(io.Discard, p.stdout)
		p.exited <- p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		err := <-p.exited
		p.exited <- err
	})
	return p, line, err
}

// readOthers reads the lines of the addresses that args have besides --addr.
func (p *process) readOthers(args []string) {
	for _, flag := range []string{"--admin-addr", "--http-redirect"} {
		if slices.Contains(args, flag) {
			line, _ := p.stdout.ReadString('\n')
			p.others = append(p.others, strings.TrimSpace(line))
		}
	}
}

// metrics returns the metrics of a process with --admin-addr.
func (p *process) metrics(t *testing.T) string {
	t.Helper()
	b, err := io.ReadAll(get(t, strings.TrimPrefix(p.others[0], "admin on ")+"/metrics").Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// wait waits until the process has exited, and returns how.
func (p *process) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.exited:
		p.exited <- err
		return err
	case <-time.After(patience):
		t.Fatal("the program has not exited")
		return nil
	}
}

func (p *process) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, url string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func post(t *testing.T, url, message string) {
	t.Helper()
	res, err := http.Post(url+"/messages", "application/json", strings.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); res.StatusCode != 200 || string(b) != "queued" {
		t.Fatalf("POST /messages: %s %q %v", res.Status, b, err)
	}
}

func TestServeUntilASignal(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			p := serve(t, nil, "--addr", "127.0.0.1:0")
			events := get(t, p.url+"/events")
			post(t, p.url, `{"user":"alice","text":"hello"}`)
			p.signal(t, sig)
			b, err := io.ReadAll(events.Body)
			open, rest, _ := strings.Cut(string(b), "\n\n")
			message, end, _ := strings.Cut(rest, "\n\n")
			_, id, _ := strings.Cut(message, "\nid: ")
			if !strings.HasPrefix(open, "event: tidings.open\n") || message != "data: {\"user\":\"alice\",\"text\":\"hello\"}\nid: "+id {
				t.Errorf("the stream is %q", b)
			}
			want := "event: tidings.end\n" + streamtest.Retry + "data: {\"reason\":\"stopping\"}\nid: " + id + "\n\n"
			if streamtest.Mask(end) != streamtest.Mask(want) || err == nil {
				t.Errorf("the stream ends with %q, %v, want %q and a broken response", end, err, want)
			}
			if err := p.wait(t); err != nil {
				t.Errorf("the program: %v, want exit code 0; stderr:\n%s", err, p.stderr)
			}
		})
	}
}

// A request that hangs delays the exit by the shutdown grace at most.
func TestSignalCutsARequestThatHangs(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0")
	hang(t, p)
	p.signal(t, syscall.SIGTERM)
	if err := p.wait(t); err != nil {
		t.Errorf("the program: %v, want exit code 0; stderr:\n%s", err, p.stderr)
	}
}

// hang begins a request that does not end.
func hang(t *testing.T, p *process) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	io.WriteString(conn, "POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
	// The 100 shows that the server reads the body.
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, " 100 ") {
		t.Fatalf("%q, %v", line, err)
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0")
	hang(t, p) // delays the exit after the first signal
	stop := time.After(patience)
	for done := false; !done; {
		p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-p.exited:
			p.exited <- err
			done = true
		case <-time.After(10 * time.Millisecond):
		case <-stop:
			t.Fatal("the program has not exited")
		}
	}
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("the program has exited by itself: %v", p.cmd.ProcessState)
	}
}

func TestErrors(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	tests := []struct {
		name string
		env  string
		args string
		code int
		says []string
	}{
		{name: "a port in use", args: "serve --addr " + busy.Addr().String(), code: 1, says: []string{"cannot listen on " + busy.Addr().String(), "another program", "--addr"}},
		{name: "beyond loopback", args: "serve --addr 0.0.0.0:0", code: 2, says: []string{"0.0.0.0:0", "other machines", "--insecure-anonymous", "127.0.0.1:8080"}},
		{name: "all addresses", args: "serve --addr :0", code: 2, says: []string{"--insecure-anonymous"}},
		{name: "an admin address beyond loopback", args: "serve --addr 127.0.0.1:0 --admin-addr 0.0.0.0:0", code: 2, says: []string{"--admin-addr 0.0.0.0:0", "--insecure-anonymous", "127.0.0.1:9090"}},
		{name: "an admin address in use", args: "serve --addr 127.0.0.1:0 --admin-addr " + busy.Addr().String(), code: 1, says: []string{"another program", "--admin-addr"}},
		{name: "a certificate of the server without its key", args: "serve --tls-cert x", code: 2, says: []string{"--tls-cert", "--tls-key"}},
		{name: "a key of the server without its certificate", args: "serve --tls-key x", code: 2, says: []string{"--tls-cert", "--tls-key"}},
		{name: "a certificate that is not there", args: "serve --tls-cert nowhere.pem --tls-key nowhere.key", code: 2, says: []string{"--tls-cert", "nowhere.pem"}},
		{name: "HTTP/2 without TLS on an address of TLS", args: "serve --tls-cert x --tls-key y --h2c", code: 2, says: []string{"--h2c"}},
		{name: "a redirect without a certificate", args: "serve --http-redirect :80", code: 2, says: []string{"--http-redirect", "--tls-cert"}},
		{name: "no command", args: "", code: 2, says: []string{"tidings serve", "--help"}},
		{name: "an unknown command", args: "bogus", code: 2, says: []string{`"bogus"`, "--help"}},
		{name: "an unknown flag", args: "--bogus", code: 2, says: []string{"-bogus"}},
		{name: "an unknown flag of serve", args: "serve --bogus", code: 2, says: []string{"-bogus"}},
		{name: "an argument", args: "serve 127.0.0.1:0", code: 2, says: []string{`"127.0.0.1:0"`, "--help"}},
		{name: "an address without a port", args: "serve --addr localhost", code: 2, says: []string{"--addr", "HOST:PORT"}},
		{name: "no value", args: "serve --addr", code: 2, says: []string{"--addr", "needs an argument"}},
		{name: "a buffer of 0", args: "serve --buffer 0", code: 2, says: []string{"buffer", "1 to 1048576"}},
		{name: "a buffer that is too large", args: "serve --buffer 1048577", code: 2, says: []string{"buffer", "1 to 1048576"}},
		{name: "a buffer that is no number", args: "serve --buffer many", code: 2, says: []string{"buffer", `"many"`}},
		{name: "a negative keep-alive", args: "serve --keep-alive -1s", code: 2, says: []string{"keep-alive", "0 or more"}},
		{name: "a keep-alive without a unit", args: "serve --keep-alive 15", code: 2, says: []string{"keep-alive", "unit"}},
		{name: "an unknown log format", args: "serve --log-format xml", code: 2, says: []string{"log-format", "text, json"}},
		{name: "an unknown log level", args: "serve --log-level loud", code: 2, says: []string{"log-level", "debug, info, warn, error"}},
		{name: "any origin", args: "serve --allow-origin *", code: 2, says: []string{"--allow-origin", "any web site"}},
		{name: "an origin with a path", args: "serve --allow-origin http://localhost:5173/", code: 2, says: []string{"--allow-origin", "scheme://host[:port]"}},
		{name: "a host with a port", args: "serve --allow-host a:80", code: 2, says: []string{"--allow-host", "without a port"}},
		{name: "no boolean", args: "serve --insecure-anonymous=maybe", code: 2, says: []string{"insecure-anonymous", `"maybe"`}},
		{name: "no boolean and an argument", args: "serve --insecure-anonymous false", code: 2, says: []string{`"false"`}},

		{name: "log without a command", args: "log", code: 2, says: []string{"tidings log verify", "--help"}},
		{name: "an unknown command of log", args: "log bogus", code: 2, says: []string{`"bogus"`, "--help"}},
		{name: "an argument of verify", args: "log verify tidings-data", code: 2, says: []string{`"tidings-data"`, "--data"}},
		{name: "an unknown flag of verify", args: "log verify --bogus", code: 2, says: []string{"--bogus", "tidings log verify --help"}},
		{name: "a folder that is not there", args: "log verify --data nowhere", code: 1, says: []string{"nowhere"}},

		{name: "a sync that is no duration", args: "serve --sync soon", code: 2, says: []string{"sync", "always", "1s"}},
		{name: "a sync of 0", args: "serve --sync 0s", code: 2, says: []string{"sync", "always", "more than 0"}},
		{name: "a sync in memory", args: "serve --memory --sync 1s", code: 2, says: []string{"--sync", "--memory"}},
		{name: "a sync of NATS", args: "serve --nats nats://127.0.0.1:1 --sync always", code: 2, says: []string{"--sync", "--nats"}},
		{name: "memory and a folder", args: "serve --memory --data x", code: 2, says: []string{"--memory", "--data", "one"}},
		{name: "memory and NATS", args: "serve --memory --nats nats://127.0.0.1:1", code: 2, says: []string{"--memory", "--nats", "one"}},
		{name: "NATS and a folder", args: "serve --nats nats://127.0.0.1:1 --data x", code: 2, says: []string{"--nats", "--data", "one"}},
		{name: "memory in the environment and a folder", env: "TIDINGS_MEMORY=true", args: "serve --data x", code: 2, says: []string{"--memory", "--data"}},
		{name: "a reserve in memory", args: "serve --memory --reserve 1MiB", code: 2, says: []string{"--reserve", "--data"}},
		{name: "credentials without NATS", args: "serve --nats-creds x", code: 2, says: []string{"--nats-creds", "--nats"}},
		{name: "a stream without NATS", args: "serve --nats-stream x", code: 2, says: []string{"--nats-stream", "--nats"}},
		{name: "a certificate without its key", args: "serve --nats nats://127.0.0.1:1 --nats-cert x", code: 2, says: []string{"--nats-cert", "--nats-key"}},
		{name: "a wait for nobody", args: "serve --nats-wait 1s", code: 2, says: []string{"--nats-wait", "--nats"}},
		{name: "a negative wait", args: "serve --nats nats://127.0.0.1:1 --nats-wait -1s", code: 2, says: []string{"nats-wait", "0 or more"}},
		{name: "too many replicas", args: "serve --nats nats://127.0.0.1:1 --nats-replicas 6", code: 2, says: []string{"nats-replicas", "1 to 5"}},
		{name: "a URL that is none", args: "serve --nats localhost", code: 2, says: []string{"--nats", "nats://host:4222"}},
		{name: "NATS that is not there", args: "serve --addr 127.0.0.1:0 --nats nats://me:secret@127.0.0.1:1 --nats-wait 0s", code: 1, says: []string{"127.0.0.1:1"}},
		{name: "credentials that are not there", args: "serve --addr 127.0.0.1:0 --nats nats://127.0.0.1:1 --nats-creds nowhere.creds --nats-wait 0s", code: 1, says: []string{"nowhere.creds"}},
		{name: "certificates that are not there", args: "serve --addr 127.0.0.1:0 --nats nats://127.0.0.1:1 --nats-ca nowhere.pem --nats-wait 0s", code: 1, says: []string{"nowhere.pem"}},
		{name: "a folder that cannot be made", args: "serve --addr 127.0.0.1:0 --data /dev/null/x", code: 1, says: []string{"/dev/null"}},
		{name: "a window that is longer than messages are kept", args: "serve --retention-age 1m --dedup-window 61s", code: 2, says: []string{"--dedup-window 1m1s", "--retention-age 1m0s"}},
		{name: "a window that is longer than the default age", args: "serve --dedup-window 25h", code: 2, says: []string{"--dedup-window 25h0m0s", "--retention-age 24h0m0s"}},
		{name: "a window that is longer than messages are kept in memory", args: "serve --memory --retention-age 1m --dedup-window 61s", code: 2, says: []string{"--dedup-window 1m1s", "--retention-age 1m0s"}},
		{name: "a window that is longer than messages are kept on NATS", args: "serve --nats nats://127.0.0.1:1 --retention-age 1m --dedup-window 61s", code: 2, says: []string{"--dedup-window 1m1s", "--retention-age 1m0s"}},
		{name: "a window that may fit an existing stream", args: "serve --addr 127.0.0.1:0 --nats nats://127.0.0.1:1 --dedup-window 25h --nats-wait 0s", code: 1, says: []string{"127.0.0.1:1"}},
		{name: "messages that are larger than what is kept", args: "serve --max-message 1MiB --retention-bytes 512KiB", code: 2, says: []string{"--max-message 1MiB", "--retention-bytes 512KiB"}},
		{name: "messages that are as large as what is kept", args: "serve --memory --max-message 1MiB --retention-bytes 1MiB", code: 2, says: []string{"--max-message 1MiB", "--retention-bytes 1MiB"}},
		{name: "a reserve of more than the disk", args: "serve --addr 127.0.0.1:0 --reserve 1000000TiB", code: 1, says: []string{"reserve", "1099511627776000000 bytes", "disk"}},
		{name: "a window of 0", args: "serve --dedup-window 0s", code: 2, says: []string{"dedup-window", "100ms"}},
		{name: "a negative age", args: "serve --retention-age -1h", code: 2, says: []string{"retention-age", "100ms"}},
		{name: "no size", args: "serve --retention-bytes 1GB", code: 2, says: []string{"retention-bytes", "1GiB"}},
		{name: "a negative size", args: "serve --reserve=-1", code: 2, says: []string{"reserve", "1GiB"}},
		{name: "a size that is too large", args: "serve --reserve 9999999TiB", code: 2, says: []string{"reserve", "1GiB"}},
		{name: "no limit in memory", args: "serve --memory --retention-bytes 0", code: 2, says: []string{"--retention-bytes 0", "--memory"}},
		{name: "messages that are too large", args: "serve --max-message 8MiB", code: 2, says: []string{"max-message", "7MiB"}},
		{name: "messages of nothing", args: "serve --max-message 0", code: 2, says: []string{"max-message", "7MiB"}},
		{name: "too little memory", args: "serve --max-memory 1MiB", code: 2, says: []string{"max-memory", "too little memory to run; give 48MiB or more"}},
		{name: "memory that is no size", args: "serve --max-memory much", code: 2, says: []string{"max-memory", "want a number of bytes"}},
		{name: "a negative number of subscribers", args: "serve --max-subscribers -1", code: 2, says: []string{"max-subscribers", "0 or more"}},

		{name: "TIDINGS_ADDR", env: "TIDINGS_ADDR=0.0.0.0:0", args: "serve", code: 2, says: []string{"0.0.0.0:0"}},
		{name: "TIDINGS_BUFFER", env: "TIDINGS_BUFFER=0", args: "serve", code: 2, says: []string{"TIDINGS_BUFFER"}},
		{name: "TIDINGS_KEEP_ALIVE", env: "TIDINGS_KEEP_ALIVE=soon", args: "serve", code: 2, says: []string{"TIDINGS_KEEP_ALIVE"}},
		{name: "TIDINGS_INSECURE_ANONYMOUS", env: "TIDINGS_INSECURE_ANONYMOUS=maybe", args: "serve", code: 2, says: []string{"TIDINGS_INSECURE_ANONYMOUS"}},
		{name: "TIDINGS_DATA", env: "TIDINGS_DATA=/dev/null/x", args: "serve --addr 127.0.0.1:0", code: 1, says: []string{"/dev/null"}},
		{name: "TIDINGS_MEMORY", env: "TIDINGS_MEMORY=maybe", args: "serve", code: 2, says: []string{"TIDINGS_MEMORY"}},
		{name: "TIDINGS_NATS", env: "TIDINGS_NATS=localhost", args: "serve", code: 2, says: []string{"nats://host:4222"}},
		{name: "TIDINGS_NATS_KEY", env: "TIDINGS_NATS_KEY=x", args: "serve --nats nats://127.0.0.1:1", code: 2, says: []string{"--nats-key"}},
		{name: "TIDINGS_SYNC", env: "TIDINGS_SYNC=soon", args: "serve", code: 2, says: []string{"TIDINGS_SYNC"}},
		{name: "TIDINGS_RETENTION_AGE", env: "TIDINGS_RETENTION_AGE=1", args: "serve", code: 2, says: []string{"TIDINGS_RETENTION_AGE"}},
		{name: "TIDINGS_RETENTION_BYTES", env: "TIDINGS_RETENTION_BYTES=x", args: "serve", code: 2, says: []string{"TIDINGS_RETENTION_BYTES"}},
		{name: "TIDINGS_DEDUP_WINDOW", env: "TIDINGS_DEDUP_WINDOW=25h", args: "serve", code: 2, says: []string{"--dedup-window 25h0m0s"}},
		{name: "TIDINGS_RESERVE", env: "TIDINGS_RESERVE=x", args: "serve", code: 2, says: []string{"TIDINGS_RESERVE"}},
		{name: "TIDINGS_MAX_MESSAGE", env: "TIDINGS_MAX_MESSAGE=x", args: "serve", code: 2, says: []string{"TIDINGS_MAX_MESSAGE"}},
		{name: "TIDINGS_MAX_SUBSCRIBERS", env: "TIDINGS_MAX_SUBSCRIBERS=x", args: "serve", code: 2, says: []string{"TIDINGS_MAX_SUBSCRIBERS"}},
		{name: "TIDINGS_LOG_FORMAT", env: "TIDINGS_LOG_FORMAT=xml", args: "serve", code: 2, says: []string{"TIDINGS_LOG_FORMAT"}},
		{name: "TIDINGS_LOG_LEVEL", env: "TIDINGS_LOG_LEVEL=loud", args: "serve", code: 2, says: []string{"TIDINGS_LOG_LEVEL"}},
		{name: "TIDINGS_ALLOW_HOST", env: "TIDINGS_ALLOW_HOST=a,b:80", args: "serve", code: 2, says: []string{`"b:80"`}},
		{name: "TIDINGS_ALLOW_ORIGIN", env: "TIDINGS_ALLOW_ORIGIN=http://a,b", args: "serve", code: 2, says: []string{`"b"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := run(t, []string{tt.env}, strings.Fields(tt.args)...)
			if code != tt.code || stdout != "" {
				t.Errorf("exit code %d, stdout %q; want %d and nothing", code, stdout, tt.code)
			}
			if strings.Contains(stderr, "secret") {
				t.Errorf("stderr has a password: %s", stderr)
			}
			if !strings.HasPrefix(stderr, "tidings: ") || strings.Count(stderr, "\n") != 1 || !strings.HasSuffix(stderr, "\n") {
				t.Errorf("stderr is not one line of the program:\n%s", stderr)
			}
			for _, s := range tt.says {
				if !strings.Contains(stderr, s) {
					t.Errorf("stderr lacks %q: %s", s, stderr)
				}
			}
		})
	}
}

// A flag and its environment variable do the same. The flag has precedence.
func TestSettings(t *testing.T) {
	const origin = "http://localhost:5173"
	for name, given := range map[string]struct{ env, args []string }{
		"as flags": {nil, []string{
			"--addr", "0.0.0.0:0", "--insecure-anonymous", "--buffer", "2", "--keep-alive", "20ms", "--allow-host", "a.example", "--allow-host", "b.example",
			"--allow-origin", "http://a.example,http://b.example", "--allow-origin", origin, "--log-format", "json", "--log-level", "debug",
		}},
		"as environment variables": {[]string{
			"TIDINGS_ADDR=0.0.0.0:0", "TIDINGS_INSECURE_ANONYMOUS=true", "TIDINGS_BUFFER=2", "TIDINGS_KEEP_ALIVE=20ms", "TIDINGS_ALLOW_HOST=a.example,b.example",
			"TIDINGS_ALLOW_ORIGIN=http://a.example,http://b.example," + origin, "TIDINGS_LOG_FORMAT=json", "TIDINGS_LOG_LEVEL=debug",
		}, nil},
		"as flags that outdo environment variables": {[]string{
			"TIDINGS_ADDR=127.0.0.1:0", "TIDINGS_INSECURE_ANONYMOUS=false", "TIDINGS_KEEP_ALIVE=1h", "TIDINGS_ALLOW_HOST=c.example",
			"TIDINGS_ALLOW_ORIGIN=http://c.example", "TIDINGS_LOG_FORMAT=text", "TIDINGS_LOG_LEVEL=error",
		}, []string{
			"--addr", "0.0.0.0:0", "--insecure-anonymous", "--keep-alive", "20ms", "--allow-host", "b.example",
			"--allow-origin", origin, "--log-format", "json", "--log-level", "debug",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := serve(t, given.env, given.args...)
			i := strings.LastIndexByte(p.url, ':')
			if strings.Contains(p.url, "127.0.0.1") {
				t.Errorf("it listens on %s, want all addresses", p.url)
			}
			url := "http://127.0.0.1" + p.url[i:]
			res := get(t, url+"/events", "Host", "b.example", "Origin", origin)
			if got := res.Header.Get("Access-Control-Allow-Origin"); res.StatusCode != 200 || got != origin {
				t.Errorf("%s, Access-Control-Allow-Origin: %q", res.Status, got)
			}
			var stream strings.Builder
			for lines := bufio.NewReader(res.Body); !strings.HasSuffix(stream.String(), "\n\n: keep-alive\n"); {
				line, err := lines.ReadString('\n')
				if stream.WriteString(line); err != nil || strings.Count(stream.String(), "\n") > 6 {
					t.Errorf("the stream begins with %q, %v", &stream, err)
					break
				}
			}
			if res := get(t, url+"/", "Host", "c.example"); res.StatusCode != 421 {
				t.Errorf("another host: %s, want 421", res.Status)
			}
			p.signal(t, syscall.SIGTERM)
			p.wait(t)
			levels := map[string]bool{}
			for line := range strings.Lines(p.stderr.String()) {
				var record struct{ Level string }
				if err := json.Unmarshal([]byte(line), &record); err != nil {
					t.Errorf("the log has %q: %v", line, err)
				}
				levels[record.Level] = true
			}
			if !levels["DEBUG"] || !levels["INFO"] || !levels["WARN"] {
				t.Errorf("the log has the levels %v:\n%s", levels, p.stderr)
			}
		})
	}
}

// The server takes streams over, except with --take-over=false or on another system than Linux.
func TestTakeOverIsASetting(t *testing.T) {
	for _, tt := range []struct {
		env  string
		args []string
		path string
	}{
		{"TIDINGS_TAKE_OVER=", nil, "taken over"},
		{"TIDINGS_TAKE_OVER=false", nil, "net/http"},
		{"TIDINGS_TAKE_OVER=true", []string{"--take-over=false"}, "net/http"},
	} {
		if runtime.GOOS != "linux" {
			tt.path = "net/http"
		}
		p := serve(t, []string{tt.env}, append(tt.args, "--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--memory")...)
		// The headers may come before the stream has begun, its first event does not.
		if _, err := io.ReadFull(get(t, p.url+"/events").Body, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if want, metrics := fmt.Sprintf("tidings_streams_begun_total{path=%q} 1", tt.path), p.metrics(t); !strings.Contains(metrics, want) {
			t.Errorf("%s %v: %s is not among the metrics:\n%s", tt.env, tt.args, want, metrics)
		}
	}
}

func TestEmptyEnvironmentVariablesAreAsNotSet(t *testing.T) {
	p := serve(t, []string{
		"TIDINGS_ADDR=", "TIDINGS_INSECURE_ANONYMOUS=", "TIDINGS_BUFFER=", "TIDINGS_KEEP_ALIVE=", "TIDINGS_ALLOW_HOST=",
		"TIDINGS_ALLOW_ORIGIN=", "TIDINGS_LOG_FORMAT=", "TIDINGS_LOG_LEVEL=", "TIDINGS_DATA=", "TIDINGS_MEMORY=", "TIDINGS_NATS=",
		"TIDINGS_NATS_CREDS=", "TIDINGS_NATS_CA=", "TIDINGS_NATS_CERT=", "TIDINGS_NATS_KEY=", "TIDINGS_NATS_STREAM=",
		"TIDINGS_NATS_REPLICAS=", "TIDINGS_SYNC=", "TIDINGS_RETENTION_AGE=", "TIDINGS_RETENTION_BYTES=", "TIDINGS_DEDUP_WINDOW=",
		"TIDINGS_RESERVE=", "TIDINGS_MAX_MESSAGE=", "TIDINGS_MAX_SUBSCRIBERS=", "TIDINGS_TAKE_OVER=",
		"TIDINGS_ADMIN_ADDR=", "TIDINGS_TLS_CERT=", "TIDINGS_TLS_KEY=", "TIDINGS_HTTP_REDIRECT=",
	}, "--addr", "127.0.0.1:0")
	if res := get(t, p.url+"/"); res.StatusCode != 200 {
		t.Errorf("GET /: %s", res.Status)
	}
	if code, _, stderr := run(t, []string{"TIDINGS_ADDR="}, "serve", "--buffer", "0"); code != 2 || !strings.Contains(stderr, "buffer") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestKeepAliveOfZeroIsOff(t *testing.T) {
	if got := main.KeepAlive(0); got >= 0 {
		t.Errorf("0 becomes %v, want a negative value", got)
	}
	if got := main.KeepAlive(time.Minute); got != time.Minute {
		t.Errorf("a minute becomes %v", got)
	}
}

func TestHelpNamesEverySetting(t *testing.T) {
	code, stdout, stderr := run(t, nil, "serve", "--help")
	if code != 0 || stderr != "" {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	doc, err := os.ReadFile("../../docs/http-api.md")
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{
		"--addr HOST:PORT":          "TIDINGS_ADDR",
		"--data DIR":                "TIDINGS_DATA",
		"--memory":                  "TIDINGS_MEMORY",
		"--nats URL":                "TIDINGS_NATS",
		"--nats-creds FILE":         "TIDINGS_NATS_CREDS",
		"--nats-ca FILE":            "TIDINGS_NATS_CA",
		"--nats-cert FILE":          "TIDINGS_NATS_CERT",
		"--nats-key FILE":           "TIDINGS_NATS_KEY",
		"--nats-stream NAME":        "TIDINGS_NATS_STREAM",
		"--nats-replicas N":         "TIDINGS_NATS_REPLICAS",
		"--nats-wait DURATION":      "TIDINGS_NATS_WAIT",
		"--sync WHEN":               "TIDINGS_SYNC",
		"--retention-age DURATION":  "TIDINGS_RETENTION_AGE",
		"--retention-bytes SIZE":    "TIDINGS_RETENTION_BYTES",
		"--dedup-window DURATION":   "TIDINGS_DEDUP_WINDOW",
		"--reserve SIZE":            "TIDINGS_RESERVE",
		"--max-message SIZE":        "TIDINGS_MAX_MESSAGE",
		"--max-subscribers N":       "TIDINGS_MAX_SUBSCRIBERS",
		"--max-memory SIZE":         "TIDINGS_MAX_MEMORY",
		"--h2c":                     "TIDINGS_H2C",
		"--buffer N":                "TIDINGS_BUFFER",
		"--keep-alive DURATION":     "TIDINGS_KEEP_ALIVE",
		"--take-over":               "TIDINGS_TAKE_OVER",
		"--allow-host NAME":         "TIDINGS_ALLOW_HOST",
		"--allow-origin ORIGIN":     "TIDINGS_ALLOW_ORIGIN",
		"--keys FILE":               "TIDINGS_KEYS",
		"--jwt-key [KID=]FILE":      "TIDINGS_JWT_KEY",
		"--jwt-issuer NAME":         "TIDINGS_JWT_ISSUER",
		"--jwt-audience NAME":       "TIDINGS_JWT_AUDIENCE",
		"--max-token-age DURATION":  "TIDINGS_MAX_TOKEN_AGE",
		"--anonymous ACTION=FILTER": "TIDINGS_ANONYMOUS",
		"--public-url URL":          "TIDINGS_PUBLIC_URL",
		"--tls-cert FILE":           "TIDINGS_TLS_CERT",
		"--tls-key FILE":            "TIDINGS_TLS_KEY",
		"--http-redirect HOST:PORT": "TIDINGS_HTTP_REDIRECT",
		"--admin-addr HOST:PORT":    "TIDINGS_ADMIN_ADDR",
		"--check":                   "TIDINGS_CHECK",
		"--insecure-anonymous":      "TIDINGS_INSECURE_ANONYMOUS",
		"--log-format FORMAT":       "TIDINGS_LOG_FORMAT",
		"--log-level LEVEL":         "TIDINGS_LOG_LEVEL",
	}
	for flag, twin := range settings {
		found := false
		for line := range strings.Lines(stdout) {
			found = found || strings.Contains(line, "   "+flag+" ") && strings.Contains(line, "[$"+twin+"]")
		}
		if !found {
			t.Errorf("the help has no line with %s and %s:\n%s", flag, twin, stdout)
		}
		if !strings.Contains(string(doc), "| `"+flag+"` | `"+twin+"` |") {
			t.Errorf("docs/http-api.md has no row with %s and %s", flag, twin)
		}
	}
	if n := strings.Count(stdout, "[$TIDINGS_"); n != len(settings) {
		t.Errorf("the help has %d settings, this test %d", n, len(settings))
	}
	if n := strings.Count(string(doc), "` | `TIDINGS_"); n != len(settings) {
		t.Errorf("docs/http-api.md has %d settings, this test %d", n, len(settings))
	}
	for _, args := range []string{"--help", "-h"} {
		if code, stdout, _ := run(t, nil, args); code != 0 || !strings.Contains(stdout, "serve") {
			t.Errorf("%s: exit code %d, %q", args, code, stdout)
		}
	}
}

func TestVersion(t *testing.T) {
	code, stdout, stderr := run(t, nil, "--version")
	if fields := strings.Fields(stdout); code != 0 || stderr != "" || len(fields) != 2 || fields[0] != "tidings" || strings.Count(stdout, "\n") != 1 {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}
