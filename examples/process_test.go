//go:build unix

package examples_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// soon is how long a server may take to notice that a client has gone. It
// takes milliseconds; a server that found out only by a keep-alive would take
// 15 s.
const soon = 10 * time.Second

// goroutines asks a program that is built with the tag of that name.
func (s *server) goroutines(t *testing.T) (n int) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	select {
	case line := <-s.lines:
		if _, err := fmt.Sscanf(line, "goroutines %d", &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
	case <-time.After(hang):
		t.Fatal("no answer to SIGUSR1")
	}
	return n
}

// descriptors returns how many file descriptors a server has open.
func (s *server) descriptors(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		missing(t, err)
	}
	return len(files)
}

func TestAKilledSubscriberLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"notifications", "notifications-sql", "clock", "metrics"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			const subscribers = 8
			s := startFor(t, program)
			goroutines, descriptors := s.goroutines(t), s.descriptors(t)
			var curls []*exec.Cmd
			for range subscribers {
				curl, _, _ := curlN(t, s.url+routes[program])
				curls = append(curls, curl)
			}
			if g, d := s.goroutines(t), s.descriptors(t); g < goroutines+subscribers || d < descriptors+subscribers {
				t.Fatalf("with %d subscribers: %d goroutines and %d descriptors, without: %d and %d", subscribers, g, d, goroutines, descriptors)
			}
			killed := time.Now()
			for _, curl := range curls {
				curl.Process.Kill()
				_ = curl.Wait()
			}
			for {
				g, d := s.goroutines(t), s.descriptors(t)
				if g <= goroutines && d <= descriptors {
					t.Logf("back to %d goroutines and %d descriptors after %v", g, d, time.Since(killed))
					return
				}
				if time.Since(killed) > soon {
					t.Fatalf("%d goroutines and %d descriptors, before the first subscriber %d and %d", g, d, goroutines, descriptors)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
}

func TestSIGTERMEndsStreamsCleanly(t *testing.T) {
	t.Parallel()
	for program, route := range routes {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			s := startFor(t, program)
			curl, stdout, _ := curlN(t, s.url+route)
			if program != "launch" && !strings.HasPrefix(program, "notifications") {
				// An event that is on its way at the end would be cut: wait for
				// the one that comes at once.
				if _, err := io.ReadFull(stdout, make([]byte, len("data: 0\n\n"))); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, stdout); err != nil {
				t.Error(err)
			}
			if err := curl.Wait(); err != nil { // 18 is a body that was cut short
				t.Errorf("curl: %v", err)
			}
			if s.wait(t); s.err != nil {
				t.Errorf("%s: %v", program, s.err)
			}
		})
	}
}

func TestSIGTERMDoesNotWaitForAClientThatTakesNothing(t *testing.T) {
	s := start(t, "notifications")
	stream := dial(t, s.addr, "/events", "HTTP/1.1")
	padding := strings.Repeat("x", 2_000_000)
	for range 10 {
		mustPost(t, s.url, `{"user":"x","text":"`+padding+`"}`)
	}
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if s.wait(t); s.err != nil {
		t.Error(s.err)
	}
	if b, err := io.ReadAll(stream.body()); err == nil {
		t.Errorf("the client takes %d bytes for a complete response", len(b))
	}
}

// Another process may have the port: then the program must say so.
func TestAddressesAreTheSeeds(t *testing.T) {
	t.Parallel()
	for program, addr := range programs {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), filepath.Join(binDir, program))
			cmd.Dir = t.TempDir()
			s := run(t, "", cmd)
			select {
			case line := <-s.lines:
				if want := "listening on http://" + addr; line != want {
					t.Errorf("first line %q, want %q", line, want)
				}
			case <-s.done:
				checkRefused(t, s, addr)
			case <-time.After(hang):
				t.Fatal("it neither listens nor ends")
			}
		})
	}
}

func TestAPortInUseIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := run(t, port, exec.CommandContext(t.Context(), filepath.Join(binDir, "ticks")))
	s.wait(t)
	checkRefused(t, s, taken.Addr().String())
}

func checkRefused(t *testing.T, s *server, addr string) {
	t.Helper()
	text := s.stderr.String()
	if s.cmd.ProcessState.ExitCode() != 1 || strings.Count(text, "\n") != 1 || !strings.Contains(text, addr) || !strings.Contains(text, "in use") {
		t.Errorf("%v, stderr %q, want status 1 and a line that says %s is in use", s.err, text, addr)
	}
}
