package jetlog_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for another process. It only catches a hang.
const patience = 30 * time.Second

// A natsServer is a real server in a process of its own.
type natsServer struct {
	url  string
	args string
	cmd  *exec.Cmd
}

// freeAddress returns an address of this machine that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startNATS starts a server with an empty store.
func startNATS(t testing.TB, args ...string) *natsServer {
	t.Helper()
	host, port, _ := net.SplitHostPort(freeAddress(t))
	s := &natsServer{
		url:  "nats://" + net.JoinHostPort(host, port),
		args: fmt.Sprintf("-js -sd %s -a %s -p %s %s", t.TempDir(), host, port, strings.Join(args, " ")),
	}
	t.Cleanup(s.kill)
	s.start(t)
	return s
}

func (s *natsServer) start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command(os.Args[0])
	s.cmd.Env = append(os.Environ(), natsEnv+"="+s.args)
	stderr, err := s.cmd.StderrPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan bool, 1)
	go func() {
		defer close(ready)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if strings.Contains(lines.Text(), "Server is ready") {
				ready <- true
			}
		}
	}()
	select {
	case ok := <-ready:
		if !ok {
			t.Fatal("the NATS server does not start")
		}
	case <-time.After(patience):
		t.Fatal("the NATS server is not ready")
	}
}

// kill ends the server as kill -9 does.
func (s *natsServer) kill() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}
