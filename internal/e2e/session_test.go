package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/tidings/internal/streamtest"
)

// eventID matches the id of an event of the hub.
var eventID = regexp.MustCompile(`\b[0-9a-hjkmnp-tv-z]{12}-[0-9]+\b`)

// The shell session in the README prints exactly what the README shows, except for the
// port and the ids. In it a message is published, the server is killed and restarted,
// and a client resumes.
func TestREADMESession(t *testing.T) {
	t.Parallel()
	program(t, "curl")
	bash := program(t, "bash")
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	session := between(t, string(readme), "```console\n$ go build ./cmd/tidings\n", "```")

	const address = "127.0.0.1:8080"
	port := listen(t, "127.0.0.1:0")
	free := port.Addr().String()
	port.Close()
	tidings.once.Do(buildTidings)
	if tidings.err != nil {
		t.Fatal(tidings.err)
	}
	dir := t.TempDir()
	if err := os.Symlink(tidings.path, filepath.Join(dir, "tidings")); err != nil {
		t.Fatal(err)
	}

	sh := startShell(t, bash, dir, "TIDINGS_ADDR="+free)
	ids := map[string]string{} // from an id in the README to the id in this session
	translate := func(s string) string {
		s = strings.ReplaceAll(s, address, free)
		return eventID.ReplaceAllStringFunc(s, func(id string) string {
			if ids[id] != "" {
				return ids[id]
			}
			return id
		})
	}
	commands := 0
	for rest := session; rest != ""; commands++ {
		command, after, _ := strings.Cut(strings.TrimPrefix(rest, "$ "), "\n")
		want, next, more := strings.Cut(after, "$ ")
		if rest = "$ " + next; !more {
			rest = ""
		}
		got := sh.run(t, translate(command), len(strings.ReplaceAll(want, address, free)))
		// Map each id of the README that appears for the first time.
		for i, id := range eventID.FindAllString(want, -1) {
			if here := eventID.FindAllString(got, -1); ids[id] == "" && i < len(here) {
				ids[id] = here[i]
			}
		}
		if want = translate(want); streamtest.MaskRetries(got) != streamtest.MaskRetries(want) {
			t.Fatalf("$ %s\nprints\n%s\nthe README says\n%s", command, got, want)
		}
	}
	if commands < 5 || len(ids) < 2 {
		t.Errorf("%d commands and %d ids: does this test still find the session?", commands, len(ids))
	}
}

// A shell runs commands one after the other.
type shell struct {
	stdin io.Writer
	out   chan string // lines
	n     int
}

// startShell starts a shell in a directory. The shell and its background jobs end with
// the test.
func startShell(t *testing.T, path, dir string, env ...string) *shell {
	t.Helper()
	cmd := exec.Command(path, "--norc", "--noprofile")
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), append(env, "no_proxy=*")...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sh := &shell{stdin: stdin, out: make(chan string, 1000)}
	go func() {
		defer close(sh.out)
		for lines := bufio.NewReader(stdout); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			sh.out <- line
		}
	}()
	t.Cleanup(func() {
		fmt.Fprintln(stdin, `kill -9 $(jobs -p) 2>/dev/null; exit`)
		stdin.Close()
		cmd.Wait()
	})
	return sh
}

// run runs a command and returns its output. It waits until the command has ended and
// the output, with that of background jobs, has at least the given length.
func (s *shell) run(t *testing.T, command string, length int) string {
	t.Helper()
	s.n++
	mark := fmt.Sprintf("command %d has ended\n", s.n)
	fmt.Fprintf(s.stdin, "%s\necho %s", command, mark)
	var got strings.Builder
	timeout := time.After(patience)
	for ended := false; !ended || got.Len() < length; {
		select {
		case line, ok := <-s.out:
			if !ok {
				t.Fatalf("$ %s\nended the shell, after\n%s", command, got.String())
			}
			if line == mark {
				ended = true
			} else {
				got.WriteString(line)
			}
		case <-timeout:
			t.Fatalf("$ %s\nprints no more than\n%s", command, got.String())
		}
	}
	return got.String()
}
