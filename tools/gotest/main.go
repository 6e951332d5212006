// Gotest runs go test with its own arguments. It prints the output of go test and
// exits with its status. If TIMES names a file, it appends a line for each test:
// the seconds, the package and the test's name, with tabs between them. The
// seconds of a test do not include those of its subtests.
//
//	go run tools/gotest/main.go -race ./...
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

func main() {
	code, err := run(os.Args[1:], os.Getenv("TIMES"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run runs go test and returns its status.
func run(args []string, times string) (int, error) {
	log := io.Discard
	if times != "" {
		f, err := os.OpenFile(times, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		log = f
	}
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	verbose := slices.ContainsFunc(args, func(a string) bool {
		name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
		return strings.HasPrefix(a, "-") && slices.Contains([]string{"v", "bench", "list"}, strings.TrimPrefix(name, "test."))
	})
	p := &printer{out: os.Stdout, times: log, verbose: verbose, tests: map[string]*running{}}
	readErr := p.read(stdout)
	if readErr != nil {
		io.Copy(io.Discard, stdout) // otherwise go test would block for ever
	}
	if err := cmd.Wait(); cmd.ProcessState == nil {
		return 0, err
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		return max(code, 1), readErr
	}
	return 0, readErr
}

// An event is a line of go test -json: see go doc test2json.
type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64
	Output  string
}

// A running test has begun but not ended. The test without a name is the package
// itself.
type running struct {
	output   strings.Builder
	parallel bool
	crashed  bool          // of a package: it prints why
	subtests time.Duration // the time of subtests that are not parallel
}

// A printer prints events as go test without -json would.
type printer struct {
	out, times io.Writer
	verbose    bool                // prints everything, as with go test -v
	tests      map[string]*running // by package and name, with a space between them
}

func (p *printer) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil {
				e = event{Action: "build-output", Output: line} // the line is not an event
			}
			if err := p.take(e); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// test returns what is known of a test, or of a package.
func (p *printer) test(key string) *running {
	t := p.tests[key]
	if t == nil {
		t = &running{}
		p.tests[key] = t
	}
	return t
}

// crash reports whether a line of output begins the report of a crash.
func crash(line string) bool {
	for _, begin := range []string{"panic: ", "fatal error: ", "SIGQUIT: "} {
		if strings.HasPrefix(line, begin) {
			return true
		}
	}
	return false
}

func (p *printer) take(e event) error {
	key := e.Package + " " + e.Test
	t := p.test(key)
	switch e.Action {
	case "build-output":
		_, err := io.WriteString(p.out, e.Output)
		return err
	case "output":
		switch {
		case p.verbose:
			_, err := io.WriteString(p.out, e.Output)
			return err
		case !strings.HasPrefix(e.Output, "=== "):
			// go test takes the report of a crash for the output of the test that printed
			// last, and may say that this one has passed.
			whole := p.test(e.Package + " ")
			if whole.crashed = whole.crashed || crash(e.Output); whole.crashed {
				t = whole
			}
			t.output.WriteString(e.Output)
		}
	case "pause":
		t.parallel = true
	case "pass", "skip", "fail":
		return p.end(e, key, t)
	}
	return nil
}

// closing returns the last line of a package's output, which has the result.
func closing(output string) string {
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "?   \t") {
			return line
		}
	}
	return ""
}

// end prints the output of a failed test, and notes the test's time. For a package
// that has not failed it prints the closing line.
func (p *printer) end(e event, key string, t *running) error {
	delete(p.tests, key)
	if e.Action == "fail" {
		if e.Test == "" {
			// A package that has crashed leaves tests that have not ended.
			var left []string
			for k := range p.tests {
				if strings.HasPrefix(k, e.Package+" ") {
					left = append(left, k)
				}
			}
			slices.Sort(left)
			for _, k := range left {
				if _, err := io.WriteString(p.out, p.tests[k].output.String()); err != nil {
					return err
				}
				delete(p.tests, k)
			}
		}
		if _, err := io.WriteString(p.out, t.output.String()); err != nil {
			return err
		}
	}
	if e.Test == "" {
		if e.Action == "fail" {
			return nil
		}
		_, err := io.WriteString(p.out, closing(t.output.String()))
		return err
	}
	took := time.Duration(e.Elapsed * float64(time.Second))
	// A subtest's own name may have a slash, so a prefix may not be the name of a test.
	for i := strings.LastIndexByte(e.Test, '/'); i >= 0 && !t.parallel; i = strings.LastIndexByte(e.Test[:i], '/') {
		if parent := p.tests[e.Package+" "+e.Test[:i]]; parent != nil {
			parent.subtests += took
			break
		}
	}
	_, err := fmt.Fprintf(p.times, "%.2f\t%s\t%s\n", max(0, took-t.subtests).Seconds(), e.Package, e.Test)
	return err
}
