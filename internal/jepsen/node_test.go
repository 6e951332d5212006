//go:build unix

package jepsen_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A node is "tidings serve" on the cluster. Its methods must be called from one goroutine at
// a time.
type node struct {
	number  int
	args    []string
	log     string  // the file with its stderr
	addr    string  // where it listens, also after a restart
	clients *link   // the network between its clients and it
	servers []*link // the network between it and each NATS server

	ctx    context.Context // ends shortly before the deadline of go test
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
}

// startNode starts a node with flags. It ends with the test. What it has logged stays in a
// folder, if there is one, or else with the test.
func startNode(t *testing.T, number int, folder string, servers []*link, args ...string) *node {
	t.Helper()
	n := &node{number: number, args: args, servers: servers, addr: "127.0.0.1:0"}
	n.log = filepath.Join(folder, fmt.Sprintf("node%d.log", number))
	ctx, cancel := context.WithCancel(context.Background())
	if deadline, ok := t.Deadline(); ok {
		// At its deadline, go test would leave the process running.
		ctx, cancel = context.WithDeadline(context.Background(), deadline.Add(-time.Second))
	}
	n.ctx = ctx
	t.Cleanup(func() {
		n.kill()
		cancel()
	})
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	n.clients = newLink(t, n.addr)
	return n
}

// start starts the process, and waits until it listens.
func (n *node) start() error {
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	n.cmd = exec.CommandContext(n.ctx, *program, append([]string{"serve", "--addr", n.addr}, n.args...)...)
	n.cmd.Dir, n.cmd.Stderr = filepath.Dir(n.log), log
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TIDINGS_") {
			n.cmd.Env = append(n.cmd.Env, v)
		}
	}
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := n.cmd.Start(); err != nil {
		return err
	}
	out := bufio.NewReader(stdout)
	line, err := out.ReadString('\n')
	n.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		defer close(exited)
		io.Copy(io.Discard, out)
		cmd.Wait()
	}(n.cmd, n.exited)
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on http://")
	if !ok {
		n.kill()
		return fmt.Errorf("node %d prints %q (%v); its log ends with\n%s", n.number, line, err, n.tail(2048))
	}
	n.addr = addr
	return nil
}

// restart starts the process again, as often as it takes, as a service manager does.
func (n *node) restart() error {
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := n.start()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// kill ends the process as kill -9 does.
func (n *node) kill() {
	if n.cmd != nil && n.cmd.Process != nil {
		n.cmd.Process.Kill()
		<-n.exited
	}
}

func (n *node) pause() error  { return n.cmd.Process.Signal(syscall.SIGSTOP) }
func (n *node) resume() error { return n.cmd.Process.Signal(syscall.SIGCONT) }

// ended reports whether the process has ended.
func (n *node) ended() bool {
	select {
	case <-n.exited:
		return true
	default:
		return false
	}
}

// server returns the number of the NATS server to which the node is connected, or -1.
func (n *node) server() int {
	for i, k := range n.servers {
		if k.used() {
			return i
		}
	}
	return -1
}

// tail returns the end of the node's log.
func (n *node) tail(size int) string {
	b, err := os.ReadFile(n.log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-size):])
}
