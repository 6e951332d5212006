package examples_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestTicksEqualsTheNodeProgram(t *testing.T) {
	t.Parallel()
	node := counterpart(t, "node")
	version, err := exec.CommandContext(t.Context(), node, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	var major int
	if _, err := fmt.Sscanf(string(version), "v%d.", &major); err != nil {
		t.Fatalf("node --version: %q: %v", version, err)
	}
	if major < 18 {
		missing(t, fmt.Sprintf("Node is %s, want v18 or later", version))
	}
	theirs := body(t, startCommand(t, "0", exec.CommandContext(t.Context(), node, filepath.Join("testdata", "ticks.mjs"))))
	ours := body(t, start(t, "ticks"))
	if ours != theirs {
		t.Errorf("ticks sends\n%s\nNode sends\n%s", ours, theirs)
	}
}

// body returns what curl shows of a stream that ends.
func body(t *testing.T, s *server) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), counterpart(t, "curl"), "-s", "-N", "--fail", s.url+"/events").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
