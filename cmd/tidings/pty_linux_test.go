package main_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A pty is a terminal on which a shell runs a script.
type pty struct {
	cmd    *exec.Cmd
	master *os.File
	exited chan struct{}

	mu   sync.Mutex
	seen bytes.Buffer
}

// onTerminal has bash run a script on a terminal of its own. In the script, $T is the program.
func onTerminal(t *testing.T, env []string, script string) *pty {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := command(t, append(env, "TERM=xterm"))
	p := &pty{cmd: exec.CommandContext(t.Context(), "bash", "-c", script), master: master, exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = c.Dir, append(c.Env, "T="+binary)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = slave, slave, slave
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	go p.read()
	go func() {
		defer close(p.exited)
		p.cmd.Wait()
	}()
	t.Cleanup(func() {
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.exited
		master.Close()
	})
	return p
}

func (p *pty) read() {
	b := make([]byte, 4096)
	for {
		n, err := p.master.Read(b)
		p.mu.Lock()
		p.seen.Write(b[:n])
		p.mu.Unlock()
		if err != nil { // EIO, when nobody has the terminal any more
			return
		}
	}
}

// text returns what the terminal shows.
func (p *pty) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen.String()
}

// until waits for a text, and returns everything that the terminal shows.
func (p *pty) until(t *testing.T, text string) string {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if got := p.text(); strings.Contains(got, text) {
			return got
		}
	}
	t.Fatalf("the terminal does not show %q, but\n%s", text, p.text())
	return ""
}

// ends waits for the end of the script.
func (p *pty) ends(t *testing.T) syscall.WaitStatus {
	t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	case <-time.After(patience):
		t.Fatalf("the script goes on:\n%s", p.text())
		return 0
	}
}

const ctrlC, ctrlD = "\x03", "\x04"

// One Ctrl-C ends a loop of the shell, as it does with cat.
func TestCtrlCEndsALoop(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	p.publish(t, "a", "here")
	for _, command := range []string{"sub --from start a", "history -f a", "pub a"} {
		term := onTerminal(t, p.hubEnv(), `while :; do echo begins; "$T" `+command+`; done`)
		if strings.HasPrefix(command, "pub") {
			term.until(t, "Ctrl-D")
		} else {
			term.until(t, "here")
		}
		io.WriteString(term.master, ctrlC)
		if st := term.ends(t); !st.Signaled() || st.Signal() != syscall.SIGINT || strings.Count(term.text(), "begins") != 1 {
			t.Errorf("%s: exit code %d, signal %v:\n%s", command, st.ExitStatus(), st.Signal(), term.text())
		}
	}
}

// The exit codes that a shell sees.
func TestStatusInAShell(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	p.publish(t, "a", "1")
	p.publish(t, "z", "zulu")
	term := onTerminal(t, p.hubEnv(), `
trap 'echo trapped' INT
"$T" sub --from start -n 1 a; echo "code $?"
"$T" sub -n 1 --timeout 100ms b; echo "code $?"
"$T" sub a..b; echo "code $?"
"$T" sub --token-file /nowhere a; echo "code $?"
"$T" sub --from start a | head -n 1; echo "codes ${PIPESTATUS[*]}"
"$T" sub --from start z; echo "code $?"
kill -s INT $$
`)
	for _, want := range []string{"code 0", "code 124", "code 2", "code 1", "codes 0 0"} {
		term.until(t, want)
	}
	term.until(t, "zulu")
	io.WriteString(term.master, ctrlC)
	term.until(t, "code 130")
}

// On a terminal a stranger's control characters do nothing: they are shown.
func TestEscapesOnATerminal(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	p.publish(t, "a", "\x1b]0;title\x07\x1b[31mred\u009b1mcsi\x7f\u202ertl\u2028x\x08\tt\nn\r\nm")
	term := onTerminal(t, p.hubEnv(), `"$T" sub -e --from start a; "$T" sub -e --json --from start a; "$T" history a; "$T" history -r a; echo done`)
	term.until(t, "done")
	plain := `\x1b]0;title\x07\x1b[31mred\u009b1mcsi\x7f\u202ertl\u2028x\x08` + "\tt\r\nn\r\nm\r\n"
	got := term.text()
	// The history newest first has the line ends as they are.
	if !strings.HasPrefix(got, plain) || strings.Count(got, plain) != 2 || strings.Count(got, `\u2028x\x08`) != 3 {
		t.Errorf("%q", got)
	}
	if !strings.Contains(got, `\u001b]0;title\u0007\u001b[31mred\u009b1mcsi\u007f\u202ertl\u2028x`) {
		t.Errorf("the JSON is not escaped: %q", got)
	}
	if strings.ContainsAny(got, "\x1b\x07\x08\x7f\u009b\u202e\u2028") {
		t.Errorf("a control character reaches the terminal: %q", got)
	}
}

// Reports are yellow on a terminal, unless NO_COLOR is set or the terminal is dumb.
func TestColors(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	for env, want := range map[string]bool{"X=1": true, "NO_COLOR=1": false, "NO_COLOR=": true, "TERM=dumb": false} {
		term := onTerminal(t, p.hubEnv(), `export `+env+`; "$T" sub -e --last-event-id nonsense a; echo done`)
		if got := term.until(t, "done"); strings.Contains(got, "\x1b[33mtidings: messages are missing") != want || !strings.Contains(got, "missing") {
			t.Errorf("%s: %q", env, got)
		}
	}
	term := onTerminal(t, p.hubEnv(), `"$T" sub -e --last-event-id nonsense a 2>&1 | cat; echo done`)
	if got := term.until(t, "done"); strings.Contains(got, "\x1b") {
		t.Errorf("in a pipe: %q", got)
	}
}

// What a person types is published line by line, until Ctrl-D.
func TestPubOnATerminal(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	term := onTerminal(t, p.hubEnv(), `"$T" pub a; echo "code $?"`)
	term.until(t, "end with Ctrl-D")
	io.WriteString(term.master, "one\ntwo\n"+ctrlD)
	if got := term.until(t, "code 0"); !strings.Contains(got, "2 messages stored") {
		t.Errorf("%q", got)
	}
	if _, out, _ := run(t, p.hubEnv(), "history", "a"); out != "one\ntwo\n" {
		t.Errorf("%q", out)
	}
}

// A long input shows how far it is, on the terminal only.
func TestPubShowsProgress(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	script := `(for i in $(seq 14); do echo $i; sleep 0.1; done) | "$T" pub a`
	if got := onTerminal(t, p.hubEnv(), script+`; echo done`).until(t, "done"); !strings.Contains(got, "\r\x1b[K") || !strings.Contains(got, " stored") || !strings.Contains(got, "14 messages stored") {
		t.Errorf("%q", got)
	}
	if got := onTerminal(t, p.hubEnv(), script+` 2>&1 | cat; echo done`).until(t, "done"); strings.Contains(got, "\x1b") || !strings.Contains(got, "14 messages stored") {
		t.Errorf("in a pipe: %q", got)
	}
}

// The list is a table on a terminal.
func TestTopicsOnATerminal(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	p.publish(t, "a", "1")
	p.publish(t, "a.longer.topic", "1")
	got := onTerminal(t, p.hubEnv(), `"$T" topics; echo done`).until(t, "done")
	lines := strings.Split(got, "\r\n")
	if strings.Contains(got, "\t") || strings.Index(lines[0], " 1 ") != strings.Index(lines[1], " 1 ") {
		t.Errorf("%s", got)
	}
}
