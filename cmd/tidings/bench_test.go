//go:build unix

package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tidings bench measures tidings serve.
func TestBench(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	args := []string{"bench", "--url", p.url, "--subscribers", "20", "--topics", "2", "--messages", "50", "--in-flight", "4", "--payload", "64", "--timeout", "20s"}
	onLinux := runtime.GOOS == "linux"
	if onLinux {
		args = append(args, "--pid", fmt.Sprint(p.cmd.Process.Pid), "--idle", "0s")
	}
	code, stdout, stderr := run(t, nil, args...)
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d; stderr: %s", code, stderr)
	}
	want := []string{"20 of 20 open, on 2 topics", "50 of 50 published, 64 bytes each, 4 messages in flight", "deliveries     500 in ", "\nlatency ", "\nEvery subscriber got every message once, in order.\n"}
	if onLinux {
		want = append(want, "\nserver's CPU ", "\nits memory ")
	}
	for _, s := range want {
		if !strings.Contains(stdout, s) {
			t.Errorf("the table does not say %q:\n%s", s, stdout)
		}
	}
	code, stdout, stderr = run(t, nil, append(args, "--json")...)
	var report struct {
		OK         bool
		Deliveries int
		Server     *struct {
			CPU float64 `json:"cpu_us_per_delivery"`
		}
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != 0 || stderr != "" || !report.OK || report.Deliveries != 500 || (report.Server != nil) != onLinux {
		t.Errorf("exit code %d, %v; stdout: %s stderr: %s", code, err, stdout, stderr)
	}
}

// A failed run is reported on stdout and in one line on stderr, with exit code 1.
func TestBenchExitsWith1(t *testing.T) {
	// In this hub every stream ends after its first event.
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusCreated)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "event: tidings.open\ndata: {}\n\n")
	}))
	defer s.Close()
	code, stdout, stderr := run(t, nil, "bench", "--url", s.URL, "--subscribers", "3", "--messages", "2")
	if code != 1 || !strings.Contains(stdout, "WRONG: 3 streams were closed, 6 deliveries are missing") || !strings.HasPrefix(stderr, "tidings: not every subscriber") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit code %d; stdout:\n%s\nstderr: %s", code, stdout, stderr)
	}
}

// A signal ends a run early. The report covers the run so far.
func TestBenchUntilASignal(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	cmd := command(t, nil, "bench", "--url", p.url, "--subscribers", "3", "--messages", "1000000", "--rate", "50")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitForTopic(t, p.url)
	cmd.Process.Signal(syscall.SIGINT)
	err := cmd.Wait()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 || !strings.Contains(stdout.String(), "interrupted") || !strings.Contains(stdout.String(), "Every subscriber got every message") {
		t.Errorf("exit code %d; stdout:\n%s\nstderr: %s", code, &stdout, &stderr)
	}
}

// waitForTopic waits until a bench has published a message.
func waitForTopic(t *testing.T, url string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		b, err := io.ReadAll(get(t, url+"/topics?match=bench.**").Body)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(`"bench.`)) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no message is published: %s", b)
		}
	}
}

// Progress goes to stderr. --quiet suppresses it.
func TestBenchProgress(t *testing.T) {
	if testing.Short() {
		t.Skip("takes longer than the five seconds between two lines")
	}
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	for _, quiet := range []bool{false, true} {
		t.Run(fmt.Sprintf("quiet=%v", quiet), func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := run(t, nil, "bench", "--url", p.url, "--subscribers", "1", "--messages", "560", "--rate", "100", fmt.Sprintf("--quiet=%v", quiet))
			if code != 0 || (stderr == "") != quiet || !quiet && !strings.Contains(stderr, "of 560 messages") || strings.Contains(stdout, "missing so far") {
				t.Errorf("exit code %d; stdout:\n%s\nstderr: %s", code, stdout, stderr)
			}
		})
	}
}

func TestBenchErrors(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	for _, tt := range []struct {
		name, env, args string
		code            int
		says            []string
	}{
		{name: "an unknown flag", args: "--bogus", code: 2, says: []string{"--bogus", "tidings bench --help"}},
		{name: "an argument", args: "http://127.0.0.1", code: 2, says: []string{`"http://127.0.0.1"`, "--help"}},
		{name: "no subscribers", args: "--subscribers 0", code: 2, says: []string{"subscribers", "1 to 1000000"}},
		{name: "no messages", args: "--messages 0", code: 2, says: []string{"messages", "1 to"}},
		{name: "no topics", args: "--topics 0", code: 2, says: []string{"topics"}},
		{name: "none in flight", args: "--in-flight 0", code: 2, says: []string{"in-flight", "1 to 65536"}},
		{name: "a rate of 0", args: "--rate 0", code: 2, says: []string{"rate", "more than 0"}},
		{name: "a rate that is none", args: "--rate fast", code: 2, says: []string{"rate", `"fast"`}},
		{name: "both loops", args: "--rate 5 --in-flight 1", code: 2, says: []string{"--in-flight", "--rate", "exclude"}},
		{name: "a payload that is too small", args: "--payload 10", code: 2, says: []string{"payload", "52"}},
		{name: "more topics than subscribers", args: "--subscribers 2 --topics 3", code: 2, says: []string{"--topics 3", "--subscribers 2"}},
		{name: "more publishers than topics", args: "--publishers 3", code: 2, says: []string{"--publishers 3", "--topics 1"}},
		{name: "a timeout of 0", args: "--timeout 0s", code: 2, says: []string{"timeout", "more than 0"}},
		{name: "a negative rest", args: "--idle -1s", code: 2, says: []string{"idle", "0 or more"}},
		{name: "a header without a colon", args: "--header secret", code: 2, says: []string{"--header", "NAME: VALUE"}},
		{name: "a header that is ours", args: "--header Content-Length:1", code: 2, says: []string{"--header", "Content-Length"}},
		{name: "no URL", args: "--url localhost:8080", code: 2, says: []string{"--url", "http://HOST:PORT"}},
		{name: "TIDINGS_BENCH_URL", env: "TIDINGS_BENCH_URL=localhost", args: "", code: 2, says: []string{"--url", `"localhost"`}},
		{name: "TIDINGS_BENCH_HEADER", env: "TIDINGS_BENCH_HEADER=x", args: "", code: 2, says: []string{"NAME: VALUE"}},
		{name: "a process that is none", args: "--pid 0", code: 2, says: []string{"pid"}},
		{name: "a process that is not there", args: "--pid 2147483647", code: 1, says: []string{"--pid"}},
		{name: "nothing listens", args: "--url http://127.0.0.1:1", code: 1, says: []string{"nothing listens at 127.0.0.1:1", "--url"}},
		{name: "no hub", args: "--url " + s.URL, code: 1, says: []string{"404 Not Found", "--url"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var env []string
			if tt.env != "" {
				env = []string{tt.env}
			}
			code, stdout, stderr := run(t, env, append([]string{"bench"}, strings.Fields(tt.args)...)...)
			if code != tt.code || stdout != "" || !strings.HasPrefix(stderr, "tidings: ") || strings.Count(stderr, "\n") != 1 || strings.Contains(stderr, "secret") {
				t.Errorf("exit code %d, want %d; stdout: %q stderr: %q", code, tt.code, stdout, stderr)
			}
			for _, s := range tt.says {
				if !strings.Contains(stderr, s) {
					t.Errorf("stderr: %q, want %q", stderr, s)
				}
			}
		})
	}
}

// A header in the environment variable may contain commas.
func TestBenchHeader(t *testing.T) {
	got := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case got <- r.Header.Get("Authorization"):
		default:
		}
		http.Error(w, "no", http.StatusUnauthorized)
	}))
	defer s.Close()
	code, _, stderr := run(t, []string{"TIDINGS_BENCH_HEADER=Authorization: Digest a, b"}, "bench", "--url", s.URL)
	if h := <-got; h != "Digest a, b" || code != 1 || strings.Contains(stderr, "Digest") {
		t.Errorf("the header is %q; exit code %d, stderr: %s", h, code, stderr)
	}
}
