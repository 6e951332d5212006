package e2e_test

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// tidings is the program, built once for all tests.
var tidings struct {
	once sync.Once
	dir  string
	path string
	err  error
}

func buildTidings() {
	if tidings.dir, tidings.err = os.MkdirTemp("", "tidings"); tidings.err != nil {
		return
	}
	tidings.path = filepath.Join(tidings.dir, "tidings")
	var out bytes.Buffer
	build := exec.Command("go", "build", "-o", tidings.path, "../../cmd/tidings")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make dist does
	build.Stdout, build.Stderr = os.Stderr, &out
	if tidings.err = build.Run(); tidings.err != nil {
		os.Stderr.Write(out.Bytes())
	}
}

func removeTidings() {
	if tidings.dir != "" {
		os.RemoveAll(tidings.dir)
	}
}

// A process is a running "tidings serve".
type process struct {
	URL    string
	cmd    *exec.Cmd
	stderr bytes.Buffer // complete after end
	ended  chan struct{}
}

// startProcess starts "tidings serve" in a folder, which has its data, on an address, with
// more flags. The address may have been in use until now. The process is killed at the
// end of the test.
func startProcess(t *testing.T, dir, addr string, flags ...string) *process {
	t.Helper()
	tidings.once.Do(buildTidings)
	if tidings.err != nil {
		t.Fatal(tidings.err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		args := append([]string{"serve", "--addr", addr}, flags...)
		p := &process{cmd: exec.Command(tidings.path, args...), ended: make(chan struct{})}
		p.cmd.Dir, p.cmd.Stderr = dir, &p.stderr
		for _, v := range os.Environ() {
			if !strings.HasPrefix(v, "TIDINGS_") {
				p.cmd.Env = append(p.cmd.Env, v)
			}
		}
		stdout, err := p.cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		out := bufio.NewReader(stdout)
		line, err := out.ReadString('\n')
		go func() {
			defer close(p.ended)
			io.Copy(io.Discard, out)
			p.cmd.Wait()
		}()
		var ok bool
		if p.URL, ok = strings.CutPrefix(strings.TrimSpace(line), "listening on "); ok {
			t.Cleanup(func() { p.end(os.Kill) })
			return p
		}
		p.end(os.Kill)
		if !strings.Contains(p.stderr.String(), "another program listens there") || time.Now().After(deadline) {
			t.Fatalf("tidings serve prints %q (%v)\n%s", line, err, &p.stderr)
		}
	}
}

// end sends a signal and waits until the process has ended.
func (p *process) end(sig os.Signal) {
	_ = p.cmd.Process.Signal(sig)
	<-p.ended
}

// addr returns the address of the process.
func (p *process) addr() string { return strings.TrimPrefix(p.URL, "http://") }
