//go:build unix

package main_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	main "example.com/tidings/cmd/tidings"
)

// pub publishes what stands in its standard input.
func (p *process) pub(t *testing.T, input string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c := command(t, p.hubEnv(), append([]string{"pub"}, args...)...)
	c.Stdin = strings.NewReader(input)
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), out.String(), errs.String()
}

func TestPubOne(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	code, id, errs := p.pub(t, "not read", "a", "hello", "--type", "t", "--key", "k")
	if code != 0 || strings.Count(id, "\n") != 1 || errs != "" {
		t.Errorf("%d %q %q", code, id, errs)
	}
	if _, again, _ := p.pub(t, "", "a", "hello", "--type", "t", "--key", "k"); again != id {
		t.Errorf("with the same key: %q, and then %q", id, again)
	}
	if code, _, errs := p.pub(t, "", "a", "other", "--key", "k"); code != 1 || !strings.Contains(errs, "was used for another message") {
		t.Errorf("%d %s", code, errs)
	}
	for _, data := range []string{"", "-5", "two\nlines", "--", "é"} {
		args := []string{"a", data}
		if data == "--" {
			args = []string{"--", "a", "--"}
		}
		if code, _, errs := p.pub(t, "", args...); code != 0 {
			t.Errorf("%q: %d %s", data, code, errs)
		}
		if _, out, _ := run(t, p.hubEnv(), "history", "-z", "-n", "1", "a"); out != data+"\x00" {
			t.Errorf("%q is stored as %q", data, out)
		}
	}
	if code, _, errs := p.pub(t, "", "a", "\xff"); code != 1 || !strings.Contains(errs, "UTF-8") {
		t.Errorf("%d %s", code, errs)
	}
}

// DATA leaves the standard input to others: a loop that reads it goes on.
func TestPubLeavesTheInput(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	c := command(t, p.hubEnv(), "")
	sh := exec.CommandContext(t.Context(), "sh", "-c", `while read -r line; do "$0" pub a "$line" >/dev/null; done`, c.Path)
	sh.Env, sh.Stdin = c.Env, strings.NewReader("1\n2\n3\n")
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%s, %v", out, err)
	}
	if _, out, _ := run(t, p.hubEnv(), "history", "a"); out != "1\n2\n3\n" {
		t.Errorf("%q", out)
	}
}

// Each line is a message, as it is, and the last one needs no end. What cannot be published is named.
func TestPubLines(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory", "--max-message", "1KiB")
	for i, tt := range []struct {
		args, input string
		code        int
		want        string
		says        string
	}{
		{"", "1\n2\n3\n", 0, "1\x002\x003\x00", "tidings: 3 messages stored\n"},
		{"-", "1", 0, "1\x00", "tidings: 1 message stored\n"},
		{"", "", 0, "", "tidings: 0 messages stored\n"},
		{"", "\n\n", 0, "\x00\x00", "2 messages stored"},
		{"", "win\r\ndows\r\n", 0, "win\x00dows\x00", "2 messages stored"},
		{"", " a \t\n", 0, " a \t\x00", "1 message stored"},
		{"", "1\nb\xffd\n3", 1, "1\x003\x00", "tidings: line 2: the line is not valid UTF-8\ntidings: 2 messages stored, 1 left out\ntidings: 1 of 3 messages are not stored\n"},
		{"", "1\n" + strings.Repeat("x", 2000) + "\n3", 1, "1\x003\x00", "line 2: the hub answered 413"},
		{"", "1\n" + strings.Repeat("x", 9<<20) + "\n3", 1, "1\x003\x00", "line 2: the line has more than 8 MiB"},
		{"", strings.Repeat("x\n", 5000), 0, strings.Repeat("x\x00", 5000), "5,000 messages stored"},
	} {
		topic := fmt.Sprint("lines.", i)
		code, out, errs := p.pub(t, tt.input, append([]string{topic}, strings.Fields(tt.args)...)...)
		if code != tt.code || out != "" || !strings.Contains(errs, tt.says) {
			t.Errorf("%.40q: %d %q %s", tt.input, code, out, errs)
		}
		if _, got, _ := run(t, p.hubEnv(), "history", "-z", topic); got != tt.want {
			t.Errorf("%.40q is stored as %.40q", tt.input, got)
		}
	}
}

// The lines of --ndjson have the fields of a batch. A bad one is named and counted.
func TestPubNDJSON(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	input := `{"data":"plain"}
{"data":{"a": 1.50, "b":"<é> \u0041"}}

{"data":null,"type":"t"}
{"topic":"c.d","data":"elsewhere","key":"k"}
{"topic":"c.d","data":"elsewhere","key":"k"}
{"data":1,"typ":"x"}
nonsense
{"data":1} 2
{"type":"t"}
{"data":1,"data":2}
{"topic":"a.*","data":1}
{"topic":7,"data":1}
["data"]
{"data":"x","type":"tidings.open"}
{"data":"half \ud800"}
{"data":"\ufffd \\ufffd \ud83d\ude00"}
{"data":"last"`
	code, _, errs := p.pub(t, input, "--ndjson", "c")
	if code != 1 || !strings.Contains(errs, "tidings: 6 messages stored, 11 left out\n") || !strings.Contains(errs, "11 of 17 messages are not stored") {
		t.Errorf("%d %s", code, errs)
	}
	for _, says := range []string{
		`line 7: the field "typ" is not known`, "line 8: the line is no JSON", "line 9: something follows", `line 10: the field "data" is missing`,
		`line 11: the field "data" stands twice`, `line 12: the topic "a.*" has a *`, `line 13: the field "topic" is no string`, "line 14: the line is no JSON object",
		"line 15: the hub answered 403", "line 16: there is half of a surrogate pair", "line 18: the JSON ends too early",
	} {
		if !strings.Contains(errs, "tidings: "+says) {
			t.Errorf("stderr lacks %q:\n%s", says, errs)
		}
	}
	_, out, _ := run(t, p.hubEnv(), "history", "**")
	if want := "plain\n" + `{"a":1.50,"b":"<é> \u0041"}` + "\nnull\nelsewhere\n\ufffd \\ufffd 😀\n"; out != want {
		t.Errorf("stored are %q, want %q", out, want)
	}
	if code, _, errs := p.pub(t, `{"data":1}`+"\n", "--ndjson"); code != 1 || !strings.Contains(errs, "line 1: the field \"topic\" is missing, and the command names no TOPIC") {
		t.Errorf("%d %s", code, errs)
	}
	code, _, errs = p.pub(t, strings.Repeat("bad\n", 1000)+`{"data":1}`+"\n", "--ndjson", "x")
	if code != 1 || strings.Count(errs, "\n") > 30 || !strings.Contains(errs, "1 message stored, 1,000 left out") {
		t.Errorf("%d %s", code, errs)
	}
}

// FuzzMessageLine feeds any line to the parser of --ndjson.
func FuzzMessageLine(f *testing.F) {
	for _, line := range []string{`{"data":"x"}`, `{"data":{"a":1},"type":null,"key":"k","topic":"a.b"}`, `{`, `[]`, "{\"data\":\"\\ud800\"}", `{"data":1}x`, "\xff"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		m, err := main.ParseMessage(line, "a.b", "t")
		if err == nil && (m.Topic == "" || strings.ContainsAny(m.Topic, "*\n ")) {
			t.Errorf("%q is %+v", line, m)
		}
	})
}

// Lines come to be stored although their input goes on: after 50 ms.
func TestPubDoesNotWaitForTheEnd(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	begin(t, p.hubEnv(), r, "pub", "a")
	r.Close()
	s := begin(t, p.hubEnv(), nil, "sub", "--from", "start", "a")
	for i := range 3 {
		fmt.Fprintln(w, i)
		if got := s.line(t); got != fmt.Sprint(i) {
			t.Errorf("%q", got)
		}
	}
}

// What has been read is stored when a signal comes.
func TestPubStoresWhatItHasRead(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	s := begin(t, p.hubEnv(), nil, "sub", "--from", "start", "a")
	for try := range 20 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		c := begin(t, p.hubEnv(), r, "pub", "a")
		first, last := fmt.Sprint("first ", try), fmt.Sprint("last ", try)
		fmt.Fprintln(w, first)
		if got := s.line(t); got != first {
			t.Errorf("%q", got)
		}
		fmt.Fprintln(w, last)
		time.Sleep(20 * time.Millisecond) // it gathers lines for longer
		c.Process.Signal(syscall.SIGTERM)
		st := c.end(t)
		w.Close()
		rest, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		if len(rest) > 0 {
			continue // the machine was too busy: pub has not read the line
		}
		if st.Signal() != syscall.SIGTERM || !strings.Contains(c.errs.String(), "2 messages stored") {
			t.Fatalf("%v %s", st, c.errs)
		}
		if got := s.line(t); got != last {
			t.Errorf("%q", got)
		}
		return
	}
	t.Error("pub never reads a line in time")
}

// journalctl -f | tidings pub logs: while the hub is restarted, and killed, each line is stored once,
// in order, and tidings sub prints each once, in order.
func TestPubAndSubAcrossRestarts(t *testing.T) {
	dir := t.TempDir()
	args := []string{"--addr", "127.0.0.1:0", "--data", dir, "--retention-age", "1h"}
	p := serve(t, nil, args...)
	args[1] = strings.TrimPrefix(p.url, "http://")
	env := p.hubEnv()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c := begin(t, env, r, "pub", "logs")
	r.Close()
	s := begin(t, env, nil, "sub", "--from", "start", "logs")
	const lines = 3000
	written := make(chan error, 1)
	go func() {
		defer w.Close()
		for i := range lines {
			if _, err := fmt.Fprintln(w, i); err != nil {
				written <- err
				return
			}
			time.Sleep(time.Millisecond)
		}
		written <- nil
	}()
	got := make(chan error, 1)
	go func() {
		for i := range lines {
			line, err := s.out.ReadString('\n')
			if want := fmt.Sprintln(i); err != nil || line != want {
				got <- fmt.Errorf("instead of %q comes %q, %w", want, line, err)
				return
			}
		}
		got <- nil
	}()
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		time.Sleep(400 * time.Millisecond)
		p.signal(t, sig)
		p.wait(t)
		time.Sleep(300 * time.Millisecond)
		p = serve(t, nil, args...)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if st := c.end(t); st.ExitStatus() != 0 || !strings.Contains(c.errs.String(), "3,000 messages stored\n") {
		t.Errorf("pub ends with %d: %s", st.ExitStatus(), c.errs)
	}
	select {
	case err := <-got:
		if err != nil {
			t.Errorf("%v; %s", err, s.errs)
		}
	case <-time.After(patience):
		t.Error("sub lacks messages")
	}
	if _, out, _ := run(t, env, "history", "logs"); strings.Count(out, "\n") != lines {
		t.Errorf("%d messages are stored", strings.Count(out, "\n"))
	}
}

// While the hub is away, pub reads no further, and holds little.
func TestPubHoldsLittle(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	begin(t, nil, r, "pub", "--url", "http://127.0.0.1:1", "a")
	r.Close()
	line := []byte(strings.Repeat("x", 100<<10-1) + "\n")
	written := 0
	for {
		w.SetWriteDeadline(time.Now().Add(2 * time.Second))
		n, err := w.Write(line)
		written += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if written > 64<<20 {
			t.Fatalf("pub has read %d bytes", written)
		}
	}
	t.Logf("pub has read %d bytes", written)
}

// A line is what a line end or the end closes, whatever pieces the input comes in.
func FuzzReadLine(f *testing.F) {
	f.Add("a\nb\r\n\nc", 3)
	f.Add("", 1)
	f.Add("\r\n\r", 2)
	f.Fuzz(func(t *testing.T, input string, piece int) {
		r := bufio.NewReaderSize(io.MultiReader(strings.NewReader(input[:min(len(input), max(0, piece))]), strings.NewReader(input[min(len(input), max(0, piece)):])), 16)
		var got []string
		for {
			line, err := main.ReadLine(r)
			if err != nil {
				break
			}
			got = append(got, line)
		}
		want := strings.Split(input, "\n")
		if want[len(want)-1] == "" {
			want = want[:len(want)-1]
		}
		for i := range want {
			want[i] = strings.TrimSuffix(want[i], "\r")
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") || len(got) != len(want) {
			t.Errorf("%q is %q, want %q", input, got, want)
		}
	})
}
