//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.com/tidings/bench/internal/measure"
)

// killAbove is the memory above which a server is killed, so that the machine lives on.
const killAbove = 3 << 30

// endPatience is how long a server may take to end before it is killed.
const endPatience = 20 * time.Second

// adminFiles is how many descriptors the server keeps for its second address, which few servers
// have.
const adminFiles = 32

// A server is a process of tidings serve with a data folder.
type server struct {
	addr    string
	admin   string // where the metrics are: addr for an earlier build
	program string
	flags   []string
	env     []string
	files   int
	divisor int    // of the number of attackers and messages, for the short form; 0 means 1
	dir     string // removed by discard

	filled map[*filling][]string // what the log has, and the marks of each

	cmd    *exec.Cmd
	exited chan struct{}
	err    error // how the process ended; read after exited

	mu   sync.Mutex
	log  bytes.Buffer
	peak int64 // of the resident memory
}

// newServer returns a server that is not started, with an empty folder.
func newServer(plan trialPlan, a attack) (*server, error) {
	dir, err := os.MkdirTemp("", "tidings-attack-")
	if err != nil {
		return nil, err
	}
	flags := slices.Concat(a.flags, plan.flags)
	if a.http2 && knowsFlag(plan.program, "--h2c") {
		flags = append(flags, "--h2c")
	}
	if knowsFlag(plan.program, adminFlag) {
		flags = append(flags, adminFlag, "127.0.0.1:0")
	}
	return &server{program: plan.program, flags: flags, env: plan.env, files: a.files, divisor: plan.divisor, dir: dir, filled: map[*filling][]string{}}, nil
}

// adminFlag is the flag for the address of the metrics.
const adminFlag = "--admin-addr"

// knowsFlag reports whether tidings serve has a flag. An earlier build serves HTTP/2 without
// --h2c.
var knowsFlag = func() func(program, flag string) bool {
	var help sync.Map
	return func(program, flag string) bool {
		text, ok := help.Load(program)
		if !ok {
			b, _ := exec.Command(program, "serve", "--help").CombinedOutput()
			text, _ = help.LoadOrStore(program, string(b))
		}
		return strings.Contains(text.(string), flag)
	}
}()

// start starts the process and waits until it listens.
func (s *server) start() error {
	args := append([]string{"serve", "--addr", "127.0.0.1:0", "--data", filepath.Join(s.dir, "data")}, s.flags...)
	s.cmd = exec.Command(s.program, args...)
	if s.files > 0 {
		s.cmd = exec.Command("sh", append([]string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, s.files+adminFiles), s.program}, args...)...)
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TIDINGS_") && !strings.HasPrefix(v, "GOMEMLIMIT=") {
			s.cmd.Env = append(s.cmd.Env, v)
		}
	}
	s.cmd.Env = append(s.cmd.Env, s.env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.cmd.Stderr = s
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewReader(stdout)
	line, _ := lines.ReadString('\n')
	second := ""
	if slices.Contains(s.flags, adminFlag) {
		second, _ = lines.ReadString('\n')
	}
	s.exited = make(chan struct{})
	go func() {
		io.Copy(io.Discard, lines)
		s.err = s.cmd.Wait()
		close(s.exited)
	}()
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on http://")
	if !ok {
		s.kill()
		return fmt.Errorf("the server's first line is %q; its log is %s", line, s.logged())
	}
	s.addr, s.admin = addr, addr
	if admin, ok := strings.CutPrefix(strings.TrimSpace(second), "admin on http://"); ok {
		s.admin = admin
	}
	s.takePeak()
	go s.sample(s.cmd.Process, s.exited)
	return nil
}

// Write takes the server's log.
func (s *server) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log.Len() > 1<<20 {
		return len(b), nil
	}
	return s.log.Write(b)
}

func (s *server) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// sample notes the peak of the memory until the process ends.
func (s *server) sample(process *os.Process, exited chan struct{}) {
	for tick := time.Tick(20 * time.Millisecond); ; {
		select {
		case <-exited:
			return
		case <-tick:
		}
		m := residentMemory(process.Pid)
		s.mu.Lock()
		s.peak = max(s.peak, m)
		s.mu.Unlock()
		if m > killAbove {
			fmt.Fprintf(s, "attacks: the server has %d MB of memory, and is killed\n", m>>20)
			process.Kill()
			return
		}
	}
}

// residentMemory returns the resident memory of a process in bytes, 0 if it has ended.
func residentMemory(pid int) int64 {
	m, err := measure.ProcessMemory(pid)
	if err != nil {
		return 0
	}
	return m.RSS
}

// memory returns the resident memory in bytes, 0 if the process has ended.
func (s *server) memory() int64 { return residentMemory(s.cmd.Process.Pid) }

// takePeak returns the peak of the memory since the last call.
func (s *server) takePeak() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peak
	s.peak = 0
	return p
}

// descriptors returns how many files the process has open.
func (s *server) descriptors() int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	return len(entries)
}

// ended reports whether the process has ended.
func (s *server) ended() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// terminate sends SIGTERM and returns how long the process then took. The error says how it
// ended, if not well.
func (s *server) terminate() (time.Duration, error) {
	begin := time.Now()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
		return time.Since(begin), s.err
	case <-time.After(endPatience):
		s.kill()
		return time.Since(begin), errors.New("the server does not end")
	}
}

// kill ends the process like a crash.
func (s *server) kill() {
	s.cmd.Process.Kill()
	<-s.exited
}

// discard kills the process, if there is one, and removes the data.
func (s *server) discard() {
	if s.cmd != nil && s.cmd.Process != nil {
		s.kill()
	}
	os.RemoveAll(s.dir)
}

// twin returns a server that is not started, with a copy of the data. The server must not run.
func (s *server) twin(env ...string) (*server, error) {
	dir, err := os.MkdirTemp("", "tidings-attack-")
	if err != nil {
		return nil, err
	}
	if err := os.CopyFS(dir, os.DirFS(s.dir)); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return &server{program: s.program, flags: s.flags, env: slices.Concat(s.env, env), files: s.files, divisor: s.divisor, dir: dir, filled: s.filled}, nil
}
