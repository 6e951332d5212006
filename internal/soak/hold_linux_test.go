package soak_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// holdEnv, if set, makes the test program only hold subscribers. Its value is the
// server's address, a topic, and the number of subscribers.
const holdEnv = "SOAK_HOLD"

func init() {
	if args := strings.Fields(os.Getenv(holdEnv)); len(args) == 3 {
		fmt.Println(holdMain(args[0], args[1], args[2]))
		os.Exit(1)
	}
}

// holdMain subscribes, prints "holding", and reads the streams. It returns only with an
// error.
func holdMain(addr, topic, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	c, err := newCrowd(addr)
	if err != nil {
		return err
	}
	members, err := c.join(topic, n, connectOptions{})
	if err != nil {
		return err
	}
	fmt.Println("holding")
	if err := c.until("a stream has ended", func() bool {
		for _, m := range members {
			if m.end != nil {
				return true
			}
		}
		return false
	}); err != nil {
		return err
	}
	return errors.New("a stream has ended")
}

// A holder is a process with subscribers.
type holder struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

// hold starts a process with n subscribers. It ends with the test.
func hold(t *testing.T, addr, topic string, n int) *holder {
	t.Helper()
	h := &holder{cmd: exec.Command(os.Args[0])}
	h.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", holdEnv, addr, topic, n))
	h.cmd.Stderr = os.Stderr
	stdout, err := h.cmd.StdoutPipe()
	if err == nil {
		err = h.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.kill)
	watchdog := time.AfterFunc(patience, func() { h.cmd.Process.Kill() })
	defer watchdog.Stop()
	h.lines = bufio.NewScanner(stdout)
	if h.lines.Scan(); h.lines.Text() != "holding" {
		t.Fatalf("the process says %q", h.lines.Text())
	}
	return h
}

// kill kills the process with SIGKILL.
func (h *holder) kill() {
	if h.cmd.ProcessState == nil {
		h.cmd.Process.Kill()
		h.cmd.Wait()
	}
}
