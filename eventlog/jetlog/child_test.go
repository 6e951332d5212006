package jetlog_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/jetlog"
	"example.com/tidings/internal/leak"
)

// natsEnv, if set, makes the test program the NATS server of go.mod, a process of
// its own, with the arguments that it has.
const natsEnv = "JETLOG_NATS"

// childEnv, if set, makes the test program one that opens the log in the folder
// that it names and appends: see child.
// childPadEnv has how many bytes each message's data is longer than it needs to be.
const (
	childEnv    = "JETLOG_CHILD"
	childPadEnv = "JETLOG_CHILD_PAD"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		child(dir)
		return
	}
	if args := os.Getenv(natsEnv); args != "" {
		natsMain(strings.Fields(args))
		return
	}
	leak.Main(m)
}

// natsMain does what the program nats-server does.
func natsMain(args []string) {
	fs := flag.NewFlagSet("nats-server", flag.ExitOnError)
	opts, err := server.ConfigureOptions(fs, args, func() {}, fs.Usage, func() {})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s.ConfigureLogger()
	if err := server.Run(s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s.WaitForShutdown()
}

// child appends in batches without end, or as many messages as its standard
// input says, and prints what was acknowledged: a line each with the epoch, the
// number, and the key.
func child(dir string) {
	pad, _ := strconv.Atoi(os.Getenv(childPadEnv))
	l, err := jetlog.Open(context.Background(), &jetlog.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	st, err := l.State(context.Background())
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	epoch := st.Epochs[len(st.Epochs)-1].ID
	fmt.Println("opened", epoch)
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	total, _ := strconv.Atoi(strings.TrimSpace(line))
	out := bufio.NewWriter(os.Stdout)
	for n := 0; total == 0 || n < total; {
		batch := make([]eventlog.Message, min(50, max(total-n, 1)))
		if total == 0 {
			batch = make([]eventlog.Message, 50)
		}
		for i := range batch {
			key := fmt.Sprintf("%s/%d", epoch, n+i)
			batch[i] = eventlog.Message{Topic: fmt.Sprintf("t.%d", (n+i)%3), Key: key, Data: "data of " + key + strings.Repeat(" ", pad)}
		}
		n += len(batch)
		for i, a := range l.Append(context.Background(), batch) {
			if a.Err != nil {
				fmt.Fprintln(out, "error", a.Err)
			} else {
				fmt.Fprintln(out, "stored", a.ID.Seq, batch[i].Key)
			}
		}
		out.Flush()
	}
	fmt.Println("done")
	time.Sleep(time.Hour) // until it is killed
}

// A childProcess is a child that runs.
type childProcess struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
	epoch string
}

// startChild starts a child in a folder, which opens the log and waits.
func startChild(t testing.TB, dir string, pad int) *childProcess {
	t.Helper()
	c := &childProcess{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), childEnv+"="+dir, fmt.Sprintf("%s=%d", childPadEnv, pad))
	c.cmd.Stderr = os.Stderr
	stdout, err := c.cmd.StdoutPipe()
	if err == nil {
		c.stdin, err = c.cmd.StdinPipe()
	}
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	c.lines = bufio.NewScanner(stdout)
	line := c.line(t)
	word, rest, _ := strings.Cut(line, " ")
	if word != "opened" {
		t.Fatalf("the child says %q", line)
	}
	c.epoch = rest
	return c
}

func (c *childProcess) line(t testing.TB) string {
	t.Helper()
	watchdog := time.AfterFunc(patience, func() { c.cmd.Process.Kill() })
	defer watchdog.Stop()
	if !c.lines.Scan() {
		return ""
	}
	return c.lines.Text()
}

// append has it append n messages, without end if that is 0.
func (c *childProcess) append(n int) { fmt.Fprintln(c.stdin, n) }

// An acknowledged message of a child.
type acknowledged struct {
	seq uint64
	key string
}

// stored returns what it has acknowledged until it is done, or until n of it. The
// rest of what it has printed is read when it is killed.
func (c *childProcess) stored(t testing.TB, n int) []acknowledged {
	t.Helper()
	var acks []acknowledged
	for n <= 0 || len(acks) < n {
		line := c.line(t)
		if line == "" || line == "done" {
			break
		}
		var a acknowledged
		if _, err := fmt.Sscanf(line, "stored %d %s", &a.seq, &a.key); err != nil {
			if strings.HasPrefix(line, "error") {
				t.Fatalf("the child says %q", line)
			}
			break // cut off by the kill
		}
		acks = append(acks, a)
	}
	return acks
}

// kill ends it as kill -9 does.
func (c *childProcess) kill() {
	if c.cmd.ProcessState == nil {
		c.cmd.Process.Kill()
	}
}

// wait waits for its end.
func (c *childProcess) wait() { c.cmd.Wait() }
