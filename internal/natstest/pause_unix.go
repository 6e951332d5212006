//go:build unix

package natstest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Pause freezes a running server, as a machine without time for it does. It returns when the server
// stands still, as far as the system can tell.
func (s *Server) Pause(tb testing.TB) {
	tb.Helper()
	s.signal(tb, syscall.SIGSTOP)
	for deadline := time.Now().Add(patience); !standsStill(s.cmd.Process.Pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatal("the NATS server does not stop")
		}
	}
}

// standsStill reports whether no thread of a process runs: a signal reaches those that do a moment
// later. Where there is no /proc, nobody knows.
func standsStill(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, name := range threads {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		// The state follows the name, which stands in parentheses (proc_pid_stat(5)).
		if _, rest, ok := strings.Cut(string(b), ") "); ok && !strings.HasPrefix(rest, "T") {
			return false
		}
	}
	return true
}

// Resume lets a frozen server run again.
func (s *Server) Resume(tb testing.TB) { s.signal(tb, syscall.SIGCONT) }

func (s *Server) signal(tb testing.TB, signal syscall.Signal) {
	tb.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil {
		tb.Fatal(err)
	}
}
