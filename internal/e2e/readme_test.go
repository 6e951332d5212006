package e2e_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The first program of the README, unchanged except for the port, sends byte for byte
// what curl prints in the README.
func TestREADMEShowsWhatCurlPrints(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	curl := program(t, "curl")
	const address = "127.0.0.1:8000"
	source := between(t, string(readme), "```go\npackage main\n", "```")
	want := between(t, string(readme), "```console\n$ curl -N http://"+address+"/events\n", "```")
	if !strings.HasSuffix(want, "\n\n") {
		t.Fatalf("the output of curl ends inside an event: %q", want)
	}

	port := listen(t, "127.0.0.1:0")
	free := port.Addr().String()
	port.Close()
	dir := t.TempDir()
	file, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(file, []byte("package main\n"+strings.ReplaceAll(source, address, free)), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", binary, file)
	build.Dir = "../.." // the module's directory
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	server := exec.CommandContext(ctx, binary)
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Wait()
	defer stop()
	for { // until it listens
		res, err := http.Head("http://" + free + "/events")
		if err == nil {
			res.Body.Close()
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}

	c := exec.CommandContext(ctx, curl, "-q", "-sS", "--noproxy", "*", "-N", "http://"+free+"/events")
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	_, err = io.ReadFull(stdout, got)
	c.Process.Kill()
	c.Wait()
	if string(got) != want || err != nil {
		t.Errorf("curl prints %q (%v), the README says %q", got, err, want)
	}
}

// between returns the text between the first start and the next end.
func between(t *testing.T, text, start, end string) string {
	t.Helper()
	_, after, ok := strings.Cut(text, start)
	inside, _, closed := strings.Cut(after, end)
	if !ok || !closed {
		t.Fatalf("the README has no block that begins with %q", start)
	}
	return inside
}
