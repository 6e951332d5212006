//go:build unix

package soak_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A process is "tidings serve", which can be stopped and started again with the same
// address and data. It is for one goroutine at a time.
type process struct {
	dir    string // its working directory
	args   []string
	path   path   // the path of its streams, from the next start on
	files  int    // its limit of open files; 0 means the system's limit
	addr   string // HOST:PORT, the same after each start
	admin  string // HOST:PORT of the metrics, another after each start
	log    string // the file with its stderr
	opened time.Duration

	program string   // a build of its own, or "" for that of all tests
	env     []string // further variables
	wrap    []string // the command that runs the program, from the next start on
	fails   bool     // the log may have errors

	cmd    *exec.Cmd
	exited chan error
	ctx    context.Context // ends shortly before the deadline of go test
}

// serve starts the program. The program ends with the test. The test fails if the
// program has logged an error.
func serve(t testing.TB, args ...string) *process {
	t.Helper()
	return (&process{args: args}).serve(t)
}

// serve starts the program. Only args, path, files, program,
// env, wrap and fails may be set before.
func (p *process) serve(t testing.TB) *process {
	t.Helper()
	p.dir, p.addr = t.TempDir(), "127.0.0.1:0"
	p.log = filepath.Join(p.dir, "stderr")
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if deadline, ok := testDeadline(t); ok {
		// At its deadline, go test would leave the program running.
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-time.Second))
	}
	p.ctx = ctx
	t.Cleanup(func() {
		defer cancel()
		p.kill()
		b, err := os.ReadFile(p.log)
		if err != nil {
			t.Error(err)
		}
		for line := range bytes.Lines(b) {
			if wrong(string(line)) && !p.fails {
				t.Errorf("the program says: %s", line)
			}
		}
		if t.Failed() {
			t.Logf("the end of the program's stderr:\n%s", b[max(0, len(b)-4096):])
		}
	})
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	return p
}

func testDeadline(t testing.TB) (time.Time, bool) {
	if t, ok := t.(*testing.T); ok {
		return t.Deadline()
	}
	return time.Time{}, false
}

// wrong reports whether a line of the program's stderr shows a failure.
func wrong(line string) bool {
	for _, s := range []string{"level=ERROR", "panic:", "fatal error:", "WARNING: DATA RACE"} {
		if strings.Contains(line, s) {
			return true
		}
	}
	return false
}

// start starts the program and waits until it listens.
func (p *process) start() error {
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := p.tryStart()
		// For a moment, another connection may use a port that the program has just left.
		if err == nil || !strings.Contains(err.Error(), "another program listens there") || time.Now().After(end) {
			return err
		}
	}
}

func (p *process) tryStart() error {
	begin := time.Now()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"serve", "--addr", p.addr, "--admin-addr", "127.0.0.1:0", "--log-level", "warn", fmt.Sprintf("--take-over=%t", p.path == takenOver)}
	args = append(args, p.args...)
	name := cmp.Or(p.program, *program)
	p.cmd = exec.CommandContext(p.ctx, name, args...)
	if p.files > 0 {
		args = append([]string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, p.files), name}, args...)
		p.cmd = exec.CommandContext(p.ctx, "sh", args...)
	}
	if len(p.wrap) > 0 {
		p.cmd = exec.CommandContext(p.ctx, p.wrap[0], slices.Concat(p.wrap[1:], []string{name}, args)...)
	}
	p.cmd.Dir = p.dir
	p.cmd.Stderr = log
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TIDINGS_") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.cmd.Env = append(p.cmd.Env, p.env...)
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	reader := bufio.NewReader(stdout)
	line, err := reader.ReadString('\n')
	p.opened = time.Since(begin)
	second, _ := reader.ReadString('\n')
	p.exited = make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan error) {
		io.Copy(io.Discard, reader)
		exited <- cmd.Wait()
	}(p.cmd, p.exited)
	addr, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "listening on http://")
	if !ok {
		p.kill()
		b, _ := os.ReadFile(p.log)
		return fmt.Errorf("the program's first line is %q (%v); its stderr ends with\n%s", line, err, b[max(0, len(b)-2048):])
	}
	p.addr, p.admin = addr, strings.TrimPrefix(strings.TrimSpace(second), "admin on http://")
	return nil
}

// kill ends the program like a crash, and waits until it has ended.
func (p *process) kill() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	p.cmd.Process.Kill()
	err := <-p.exited
	p.exited <- err
}

// terminate sends SIGTERM, and returns how the program ended.
func (p *process) terminate() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-p.exited:
		p.exited <- err
		return err
	case <-time.After(patience):
		return fmt.Errorf("the program has not ended within %v of SIGTERM", patience)
	}
}

// memory returns the proportional set size of the process in bytes. ok is false if the
// system does not tell.
func (p *process) memory() (n int64, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.cmd.Process.Pid))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if rest, found := strings.CutPrefix(line, "Pss:"); found {
			kB, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kB << 10, err == nil
		}
	}
	return 0, false
}
