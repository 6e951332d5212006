//go:build unix

package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hubEnv is the environment of the commands that ask a server.
func (p *process) hubEnv() []string { return []string{"TIDINGS_URL=" + p.url} }

// publish publishes messages to a topic, and returns their ids.
func (p *process) publish(t *testing.T, topic string, messages ...string) (ids []string) {
	t.Helper()
	for _, m := range messages {
		res, err := http.Post(p.url+"/topics/"+topic, "", strings.NewReader(m))
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ ID string }
		err = json.NewDecoder(res.Body).Decode(&got)
		res.Body.Close()
		if err != nil || res.StatusCode != 201 {
			t.Fatal(res.Status, err)
		}
		ids = append(ids, got.ID)
	}
	return ids
}

// A running is a command that goes on.
type running struct {
	*exec.Cmd
	out    *bufio.Reader
	pipe   *os.File // what out reads
	errs   *bytes.Buffer
	exited chan struct{} // closed when Wait has returned
}

// begin starts a command with a pipe as stdout.
func begin(t *testing.T, env []string, stdin io.Reader, args ...string) *running {
	t.Helper()
	cmd := command(t, env, args...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	c := &running{cmd, bufio.NewReader(r), r, new(bytes.Buffer), make(chan struct{})}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, w, c.errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() {
		defer close(c.exited)
		cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-c.exited
	})
	return c
}

// line returns the next line of the output.
func (c *running) line(t *testing.T) string {
	t.Helper()
	line, err := c.out.ReadString('\n')
	if err != nil {
		t.Fatalf("%q, %v; stderr: %s", line, err, c.errs)
	}
	return strings.TrimSuffix(line, "\n")
}

// end waits for the end of the command.
func (c *running) end(t *testing.T) syscall.WaitStatus {
	t.Helper()
	select {
	case <-c.exited:
		return c.ProcessState.Sys().(syscall.WaitStatus)
	case <-time.After(patience):
		t.Fatal("the command goes on")
		return 0
	}
}

// What ends sub, and with which exit code: whatever the form of the output.
func TestSubEnds(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	ids := p.publish(t, "a", "1", "2", "3")
	p.publish(t, "b", "x")
	for _, tt := range []struct {
		args, out string
		code      int
	}{
		{"-e --from start a", "1 2 3", 0},
		{"-e a", "", 0},
		{"--until-live --from 2 **", "3 x", 0},
		{"-e --from last a b", "3 x", 0},
		{"--count 2 --from start a", "1 2", 0},
		{"-n 3 --from start a", "1 2 3", 0},
		{"--count 9 -e --from start a", "1 2 3", 124},
		{"--count 9 --timeout 300ms --from start a", "1 2 3", 124},
		{"--timeout 300ms --from start a", "1 2 3", 0},
		{"--count 9 --idle 300ms --from start a", "1 2 3", 124},
		{"--idle 300ms --from start a", "1 2 3", 0},
		{"--idle 300ms none", "", 0},
		{"--count 1 --timeout 300ms none", "", 124},
		{"-e --from " + ids[0] + " a", "2 3", 0},
		{"-e --from 1999-01-01T00:00:00Z a", "1 2 3", 0},
		{"-e --from start --last-event-id " + ids[1] + " a", "3", 0},
		{"a --from start -e", "1 2 3", 0},
		{"--from yesterday a", "", 2},
		{"--count 0 a", "", 2},
		{"", "", 2},
		{"a..b", "", 2},
		{"*.*.*.*.* a", "", 2},
		{"tidings.open", "", 2},
		{"--url nowhere a", "", 2},
		{"--header nonsense a", "", 2},
		{"--token secret a", "", 2},
		{"--token-file /nowhere/at/all a", "", 1},
		{"--url " + p.url + "/nowhere a", "", 1},
	} {
		for _, form := range []string{"", "--json", "--null"} {
			t.Run(form+" "+tt.args, func(t *testing.T) {
				t.Parallel()
				args := append([]string{"sub"}, strings.Fields(form+" "+tt.args)...)
				code, out, errs := run(t, p.hubEnv(), args...)
				var got []string
				for text := range strings.FieldsFuncSeq(out, func(c rune) bool { return c == '\n' || c == 0 }) {
					if form == "--json" {
						var m struct{ ID, Topic, Type, Data, Time string }
						if err := json.Unmarshal([]byte(text), &m); err != nil || m.ID == "" || m.Topic == "" || m.Type != "message" || m.Time == "" {
							t.Errorf("%q, %v", text, err)
						}
						text = m.Data
					}
					got = append(got, text)
				}
				if code != tt.code || strings.Join(got, " ") != tt.out || (code == 0) != (errs == "") || strings.Count(errs, "\n") > 1 || strings.Contains(errs, "secret") {
					t.Errorf("exit code %d and %q, want %d and %q; stderr: %s", code, got, tt.code, tt.out, errs)
				}
			})
		}
	}
}

// A command whose credential is refused says so, and ends with 1. The file of the token is read for
// each request.
func TestSubWithCredentials(t *testing.T) {
	dir := t.TempDir()
	keys, file := filepath.Join(dir, "keys"), filepath.Join(dir, "token")
	_, key, _ := run(t, nil, "key", "new", "--keys", keys, "--subscribe", "a.**", "--publish", "a.**", "service")
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory", "--keys", keys)
	if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	key = strings.TrimSpace(key)
	for _, tt := range []struct {
		env, args []string
		code      int
		says      string
	}{
		{[]string{"TIDINGS_TOKEN=" + key}, []string{"pub", "a.b", "x"}, 0, ""},
		{[]string{"TIDINGS_TOKEN=" + key}, []string{"sub", "-e", "a.**"}, 0, ""},
		{nil, []string{"sub", "--token-file", file, "-e", "a.**"}, 0, ""},
		{[]string{"TIDINGS_TOKEN=wrong"}, []string{"sub", "--token-file", file, "-e", "a.**"}, 0, ""},
		{nil, []string{"sub", "--header", "Authorization: Bearer " + key, "-e", "a.**"}, 0, ""},
		{[]string{"TIDINGS_TOKEN=wrong"}, []string{"sub", "--header", "Authorization: Bearer " + key, "-e", "a.**"}, 0, ""},
		{nil, []string{"sub", "-e", "a.**"}, 1, "Send a credential"},
		{[]string{"TIDINGS_TOKEN=" + key}, []string{"sub", "-e", "b"}, 1, "You may not read"},
		{[]string{"TIDINGS_TOKEN=wrong"}, []string{"sub", "-e", "a.**"}, 1, "not accepted"},
		{[]string{"TIDINGS_TOKEN=wrong"}, []string{"pub", "a.b", "x"}, 1, "not accepted"},
		{[]string{"TIDINGS_TOKEN=" + key}, []string{"pub", "b", "x"}, 1, "may not publish"},
		{[]string{"TIDINGS_TOKEN=" + key}, []string{"topics", "a.**"}, 0, ""},
		{[]string{"TIDINGS_TOKEN=" + key}, []string{"topics"}, 1, "You may not read"},
		{[]string{"TIDINGS_TOKEN=" + key}, []string{"history", "a.b"}, 0, ""},
		{[]string{"TIDINGS_TOKEN=" + key}, []string{"history", "-r", "b"}, 1, "You may not read"},
	} {
		code, _, errs := run(t, append(tt.env, p.hubEnv()...), tt.args...)
		if code != tt.code || !strings.Contains(errs, tt.says) || strings.Contains(errs, key) {
			t.Errorf("%q: %d, %s", tt.args, code, errs)
		}
	}
}

// The token may come from a pipe, as with --token-file <(command) in a shell.
func TestTokenFromAPipe(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys")
	_, key, _ := run(t, nil, "key", "new", "--keys", keys, "--subscribe", "a", "service")
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory", "--keys", keys)
	for _, args := range [][]string{{"sub", "-e", "a"}, {"topics", "a"}} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, key)
		w.Close()
		cmd := command(t, p.hubEnv(), append(args, "--token-file", "/dev/fd/3")...)
		cmd.ExtraFiles = []*os.File{r}
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v, %s", args[0], err, out)
		}
		r.Close()
	}
}

// A program dies of SIGINT and SIGTERM, as cat does: also while nobody reads its output, and while
// it waits for a hub.
func TestClientsDieOfSignals(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	p.publish(t, "full", strings.Repeat("x", 300<<10)) // more than a pipe holds
	for _, args := range [][]string{{"sub", "a"}, {"sub", "--from", "start", "full"}, {"history", "-f", "a"}, {"pub", "a"}, {"sub", "--url", "http://127.0.0.1:1", "a"}, {"pub", "--url", "http://127.0.0.1:1", "a", "x"}} {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			r, w, err := os.Pipe() // stdin
			if err != nil {
				t.Fatal(err)
			}
			c := begin(t, p.hubEnv(), r, args...)
			time.Sleep(200 * time.Millisecond) // or it is caught before it does anything
			c.Process.Signal(sig)
			if st := c.end(t); !st.Signaled() || st.Signal() != sig {
				t.Errorf("%q after %v: exit code %d, signaled %v %v; %s", args, sig, st.ExitStatus(), st.Signaled(), st.Signal(), c.errs)
			}
			r.Close()
			w.Close()
		}
	}
}

// When its reader has left, sub ends with 0 within a second, though nothing is published.
func TestSubWithoutAReader(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	p.publish(t, "a", "1")
	soonest := time.Hour // the others may be late because the machine is busy
	for range 3 {
		c := begin(t, p.hubEnv(), nil, "sub", "--from", "start", "a")
		if got := c.line(t); got != "1" {
			t.Fatal(got)
		}
		left := time.Now()
		c.pipe.Close()
		if st := c.end(t); st.ExitStatus() != 0 || st.Signaled() || c.errs.Len() > 0 {
			t.Errorf("%d, signaled %v; %s", st.ExitStatus(), st.Signaled(), c.errs)
		}
		soonest = min(soonest, time.Since(left))
	}
	if soonest > time.Second {
		t.Errorf("noticed after %v at the earliest", soonest)
	}
	// While messages come it is noticed, too.
	c := begin(t, p.hubEnv(), nil, "sub", "--from", "start", "a")
	c.line(t)
	c.pipe.Close()
	for ended := false; !ended; time.Sleep(5 * time.Millisecond) {
		p.publish(t, "a", "more")
		select {
		case <-c.exited:
			ended = true
		default:
		}
	}
	if st := c.end(t); st.ExitStatus() != 0 || st.Signaled() {
		t.Errorf("%d, signaled %v; %s", st.ExitStatus(), st.Signaled(), c.errs)
	}
}

// What a stranger publishes reaches a pipe as it is. In JSON, what some programs take for a line
// end is escaped.
func TestSubInAPipe(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	wild := "\x1b[31mred\x07\x00\u0085\u202e\u2028\ttab"
	p.publish(t, "a", wild, "two\nlines")
	if _, out, errs := run(t, p.hubEnv(), "sub", "-e", "--from", "start", "a"); out != wild+"\ntwo\nlines\n" || errs != "" {
		t.Errorf("%q, %s", out, errs)
	}
	if _, out, _ := run(t, p.hubEnv(), "sub", "-e", "-z", "--from", "1", "a"); out != "two\nlines\x00" {
		t.Errorf("%q", out)
	}
	_, out, _ := run(t, p.hubEnv(), "sub", "-e", "--json", "--from", "start", "a")
	first, rest, _ := strings.Cut(out, "\n")
	var m struct{ Data string }
	if err := json.Unmarshal([]byte(first), &m); err != nil || m.Data != wild || strings.Count(rest, "\n") != 1 {
		t.Errorf("%q, %v", out, err)
	}
	if strings.ContainsAny(first, "\x1b\x07\u0085\u202e\u2028") {
		t.Errorf("%q", first)
	}
}

// Messages that are gone are reported on stderr, and lost connections once.
func TestSubReports(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	p.publish(t, "a", "1")
	code, out, errs := run(t, p.hubEnv(), "sub", "-e", "--last-event-id", "nonsense", "a")
	if code != 0 || out != "1\n" || errs != "tidings: messages are missing here (malformed)\n" {
		t.Errorf("%d %q %q", code, out, errs)
	}
	if code, _, errs := run(t, p.hubEnv(), "sub", "-q", "-e", "--last-event-id", "nonsense", "a"); code != 0 || errs != "" {
		t.Errorf("%d %q", code, errs)
	}
	code, _, errs = run(t, nil, "sub", "--url", "http://127.0.0.1:1", "--timeout", "1s", "a")
	if code != 0 || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "no hub answers at http://127.0.0.1:1") {
		t.Errorf("%d %q", code, errs)
	}
	for _, args := range [][]string{{"sub", "--timeout", "100ms", "a"}, {"topics"}, {"revoke", "jwt:a"}} {
		_, _, errs := run(t, []string{"TIDINGS_URL=http://ada:secret@127.0.0.1:1"}, args...)
		if strings.Contains(errs, "secret") || !strings.Contains(errs, "no hub answers at http://ada:xxxxx@127.0.0.1:1") {
			t.Errorf("%s has the password, or no reason: %q", args[0], errs)
		}
	}
}

func TestTopicsCommand(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	ids := p.publish(t, "orders.42", "1", "2")
	p.publish(t, "users.7", "x")
	_, out, errs := run(t, p.hubEnv(), "topics")
	lines := strings.Split(out, "\n")
	if fields := strings.Split(lines[0], "\t"); len(lines) != 3 || len(fields) != 4 || fields[0] != "orders.42" || fields[1] != "2" || fields[3] != ids[1] || errs != "" {
		t.Errorf("%q, %s", out, errs)
	}
	_, out, _ = run(t, p.hubEnv(), "topics", "--json", "users.*")
	var info struct {
		Topic, Last, Time string
		Count             int
	}
	if err := json.Unmarshal([]byte(out), &info); err != nil || info.Topic != "users.7" || info.Count != 1 || strings.Count(out, "\n") != 1 {
		t.Errorf("%q, %v", out, err)
	}
	var many strings.Builder
	for i := range 1200 { // more than a page
		fmt.Fprintf(&many, "{\"topic\":\"many.%d\",\"data\":\"\"}\n", i)
	}
	c := command(t, p.hubEnv(), "pub", "--ndjson")
	c.Stdin = strings.NewReader(many.String())
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s, %v", out, err)
	}
	if _, out, _ = run(t, p.hubEnv(), "topics", "many.*"); strings.Count(out, "\n") != 1200 {
		t.Errorf("%d topics", strings.Count(out, "\n"))
	}
	if code, _, errs := run(t, p.hubEnv(), "topics", "a", "b"); code != 2 || !strings.Contains(errs, "one filter") {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := run(t, nil, "topics", "--url", "http://127.0.0.1:1"); code != 1 || !strings.Contains(errs, "tidings serve") {
		t.Errorf("%d %s", code, errs)
	}
}

func TestHistoryCommand(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	var all []string
	for i := range 450 { // more than two pages
		all = append(all, fmt.Sprint(i))
	}
	p.publish(t, "a", all...)
	p.publish(t, "b", "x")
	joined := strings.Join(all, " ")
	for args, want := range map[string]string{
		"a":                 joined,
		"--tail 2 a":        "448 449",
		"-n 2 a b":          "449 x",
		"--reverse -n 3 a":  "449 448 447",
		"-r --tail 2 **":    "x 449",
		"none":              "",
		"--reverse none":    "",
		"--tail 100000 a":   joined,
		"--json --tail 1 b": "x",
	} {
		code, out, errs := run(t, p.hubEnv(), append([]string{"history"}, strings.Fields(args)...)...)
		if strings.Contains(args, "json") {
			var m struct{ Topic, Data string }
			if err := json.Unmarshal([]byte(out), &m); err != nil || m.Topic != "b" {
				t.Errorf("%q", out)
			}
			out = m.Data
		}
		if got := strings.Join(strings.Fields(out), " "); code != 0 || got != want || errs != "" {
			t.Errorf("history %s: %d %.100q %s", args, code, got, errs)
		}
	}
	if _, out, _ := run(t, p.hubEnv(), "history", "-r", "a"); len(strings.Fields(out)) != 450 || !strings.HasPrefix(out, "449\n448\n") || !strings.HasSuffix(out, "\n1\n0\n") {
		t.Errorf("%.100q", out)
	}
	for _, args := range []string{"", "--tail 0 a", "--tail 100001 a", "-r -f a", "a..b"} {
		if code, _, errs := run(t, p.hubEnv(), append([]string{"history"}, strings.Fields(args)...)...); code != 2 {
			t.Errorf("history %s: %d %s", args, code, errs)
		}
	}
	c := begin(t, p.hubEnv(), nil, "history", "-f", "--tail", "1", "a")
	if got := c.line(t); got != "449" {
		t.Fatal(got)
	}
	p.publish(t, "a", "new")
	if got := c.line(t); got != "new" {
		t.Fatal(got)
	}
}

// Mistakes in a call are explained.
func TestClientsExplain(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	for args, want := range map[string]string{
		"sub orders/42":          "Did you mean 'orders.42'?",
		"sub orders.#":           "Did you mean 'orders.**'?",
		"sub orders.>":           "Did you mean 'orders.**'?",
		"sub +.status":           "Did you mean '*.status'?",
		"sub /orders/+/x/":       "Did you mean 'orders.*.x'?",
		"sub orders*":            "Did you mean 'orders.*'?",
		"sub **.a":               "only as its last token",
		"sub":                    "as in tidings sub 'orders.*'",
		"sub -e --count 0 a":     "1 or more",
		"sub --tokn x a":         "unknown flag --tokn",
		"sub --token x a":        "TIDINGS_TOKEN",
		"sub --url x a":          "http://HOST:PORT",
		"sub --url http://x?y a": "without ? and #",
		"pub":                    "as in tidings pub orders.42 shipped",
		"pub orders.* x":         "A message has one topic",
		"pub a b c":              "quote a message that has spaces",
		"pub -":                  "the first argument is the topic",
		"pub --key k a":          "--key is for one message",
		"pub --ndjson a x":       "there can be no DATA",
		"pub orders/42 x":        "Did you mean 'orders.42'?",
		"history":                "as in tidings history 'orders.*'",
		"completion":             "tidings completion bash",
	} {
		code, out, errs := run(t, p.hubEnv(), strings.Fields(args)...)
		if code != 2 || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %q %s; want %q", args, code, out, errs, want)
		}
	}
	// The shell has replaced a * that is not quoted.
	c := command(t, p.hubEnv(), "sub", "--timeout", "200ms", "orders.log", "orders.txt")
	for _, name := range c.Args[4:] {
		if err := os.WriteFile(filepath.Join(c.Dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "the shell has replaced it. Quote it, as in 'orders.*'") {
		t.Errorf("%s, %v", out, err)
	}
	c = command(t, p.hubEnv(), "sub", "read me")
	if err := os.WriteFile(filepath.Join(c.Dir, "read me"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _ := c.CombinedOutput(); c.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "the shell has replaced it") {
		t.Errorf("%s", out)
	}
}
