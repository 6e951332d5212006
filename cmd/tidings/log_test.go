//go:build unix

package main_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// tidings log verify reads a folder, also while a server uses it, and says what is damaged.
func TestLogVerify(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	code, stdout, stderr := run(t, nil, "log", "verify", "--data", dir)
	if code != 1 || stdout != "" || !strings.Contains(stderr, dir) {
		t.Errorf("no folder: exit code %d, %q, %q", code, stdout, stderr)
	}

	p := serve(t, nil, "--addr", "127.0.0.1:0", "--data", dir)
	for _, text := range []string{"one", "two", "three"} {
		post(t, p.url, `{"user":"alice","text":"`+text+`"}`)
	}
	well := regexp.MustCompile(`^segments   1\nrecords    3\nnumbers    1 to 3\nremoved    0\nbytes      \d+\nmissing    0\n$`)
	for _, when := range []string{"while it is served", "after the end"} {
		if when == "after the end" {
			p.signal(t, syscall.SIGTERM)
			p.wait(t)
		}
		for _, args := range [][]string{{"--data", dir}, nil} {
			code, stdout, stderr = run(t, []string{"TIDINGS_DATA=" + dir}, append([]string{"log", "verify"}, args...)...)
			if code != 0 || !well.MatchString(stdout) || stderr != "" {
				t.Errorf("%s: exit code %d, %q, %q", when, code, stdout, stderr)
			}
		}
	}

	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(names[0], []byte(strings.Replace(string(b), "two", "tow", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr = run(t, nil, "log", "verify", "--data", dir)
	table := regexp.MustCompile(`(?s)\nrecords    2\n.*\nmissing    1\n\nmissing   file +problem\n2         ` + regexp.QuoteMeta(filepath.Base(names[0])) + `   bytes \d+ to \d+ are damaged\n$`)
	if code != 1 || !table.MatchString(stdout) || !strings.HasPrefix(stderr, "tidings: 1 of 3 messages in ") {
		t.Errorf("damaged: exit code %d, %q, %q", code, stdout, stderr)
	}
}
