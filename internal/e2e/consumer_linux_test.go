package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	publisher "example.com/tidings/eventsource/publish"
)

// A consumer is the example of this name as a process.
type consumer struct {
	t    *testing.T
	cmd  *exec.Cmd
	once sync.Once
}

// startConsumer starts the example. It is killed at the end of the test.
func startConsumer(t *testing.T, bin, url, file string) *consumer {
	t.Helper()
	c := &consumer{t: t, cmd: exec.Command(bin, url, file)}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	return c
}

func (c *consumer) signal(sig syscall.Signal) {
	if err := c.cmd.Process.Signal(sig); err != nil {
		c.t.Error(err)
	}
}

func (c *consumer) kill() {
	c.once.Do(func() {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	})
}

func countLines(t *testing.T, file string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return bytes.Count(b, []byte("\n"))
}

// checkLines checks that a file of the consumer has the messages 0 to count-1, each
// once and in order.
func checkLines(t *testing.T, file string, count int) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		if _, data, _ := strings.Cut(line, " "); data != fmt.Sprintf("%q\n", fmt.Sprint(n)) {
			t.Fatalf("line %d is %q", n+1, line)
		}
		n++
	}
	if n != count {
		t.Errorf("%d lines, want %d", n, count)
	}
}

// The example consumer, a process of its own, is killed and stopped, as is the
// hub. Its file has every message once and in order.
func TestConsumerSurvivesKills(t *testing.T) {
	t.Parallel()
	const count = 3000
	dir := t.TempDir()
	bin := filepath.Join(dir, "consumer")
	build := exec.Command("go", "build", "-o", bin, "../../examples/consumer")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	hub := startProcess(t, dir, "127.0.0.1:0", "--keep-alive", "200ms")
	file := filepath.Join(dir, "messages")
	consumer := startConsumer(t, bin, hub.URL+"/events?topic=a&from=start", file)
	pub := publisher.New(hub.URL, nil)
	defer pub.CloseIdleConnections()
	publishing(t, pub, count, 15, func(part int) {
		switch part {
		case 2, 6:
			consumer.kill()
			consumer = startConsumer(t, bin, hub.URL+"/events?topic=a&from=start", file)
		case 4:
			hub.end(syscall.SIGKILL)
			hub = startProcess(t, dir, hub.addr(), "--keep-alive", "200ms")
		case 8: // longer than the watchdog's time, 5.4 s
			consumer.signal(syscall.SIGSTOP)
		case 9:
			time.Sleep(7 * time.Second)
			consumer.signal(syscall.SIGCONT)
		}
	})
	eventually(t, "the file has all messages", func() bool { return countLines(t, file) >= count })
	consumer.kill()
	checkLines(t, file, count)
}
