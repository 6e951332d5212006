//go:build unix

package main_test

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	main "example.com/tidings/cmd/tidings"
)

// servePiped starts "tidings serve" with a pipe as its stderr, and returns the pipe's end to
// read from.
func servePiped(t *testing.T, args ...string) (*process, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	p := &process{cmd: command(t, nil, append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...), exited: make(chan error, 1)}
	p.cmd.Stderr = w
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() { p.cmd.Process.Kill() })
	p.stdout = bufio.NewReader(stdout)
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	p.readOthers(args)
	go func() { p.exited <- p.cmd.Wait() }()
	p.url = strings.TrimPrefix(strings.TrimSpace(line), "listening on ")
	return p, r
}

// The death of whoever reads the log does not end the server.
func TestReaderOfStderrIsGone(t *testing.T) {
	p, r := servePiped(t, "--log-level", "debug")
	r.Close()
	for range 3 {
		post(t, p.url, said("a"))
	}
	p.signal(t, syscall.SIGTERM)
	if err := p.wait(t); err != nil {
		t.Errorf("the program: %v, want exit code 0", err)
	}
}

// A reader of the log that has stopped delays neither publishing nor the end. Once it reads
// on, it is told how many lines were dropped, as /metrics says.
func TestReaderOfStderrHasStopped(t *testing.T) {
	p, r := servePiped(t, "--log-level", "debug", "--admin-addr", "127.0.0.1:0")
	dropped := func() bool { return !strings.Contains(p.metrics(t), "\ntidings_log_lines_dropped_total 0\n") }
	long := p.url + "/" + strings.Repeat("x", 30_000) // each request logs its path
	for n := 0; !dropped(); n++ {
		if n == 1000 {
			t.Fatal("no line was dropped")
		}
		res, err := http.Get(long)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	post(t, p.url, said("a"))
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for told := false; !told; {
		if !lines.Scan() {
			t.Fatalf("nobody says that lines were dropped: %v", lines.Err())
		}
		told = strings.Contains(lines.Text(), "lines of the log were dropped here")
	}
	for range 100 { // now it stops again
		if res, err := http.Get(long); err == nil {
			res.Body.Close()
		}
	}
	start := time.Now()
	p.signal(t, syscall.SIGTERM)
	if err := p.wait(t); err != nil {
		t.Errorf("the program: %v, want exit code 0", err)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("the program takes %v to end", d)
	}
}

// The program ends some time after a signal, unless it has ended by itself.
func TestExitAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			stops time.Duration // after the signal
			exits bool
		}{{time.Second, false}, {3 * time.Second, true}} {
			ctx, signal := context.WithCancel(t.Context())
			var exited time.Duration
			start := time.Now()
			stop := main.ExitAfter(ctx, 2*time.Second, func() { exited = time.Since(start) })
			time.Sleep(time.Hour) // no signal comes
			start = time.Now()
			signal()
			time.Sleep(tt.stops)
			stop()
			synctest.Wait()
			if tt.exits && exited != 2*time.Second || !tt.exits && exited != 0 {
				t.Errorf("the program would have stopped after %v, and exits after %v", tt.stops, exited)
			}
		}
		stop := main.ExitAfter(t.Context(), time.Second, func() { t.Error("exit without a signal") })
		stop()
	})
}
