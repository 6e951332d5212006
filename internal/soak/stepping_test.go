//go:build unix

package soak_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// steppingSource is what the program gets beside its own files. It sets the offset of the wall
// clock to the number of seconds in a file, again and again.
const steppingSource = `package main

import (
	"os"
	"strconv"
	"time"
)

func init() {
	set := func() {
		b, err := os.ReadFile(os.Getenv("SOAK_CLOCK"))
		if n, e := strconv.ParseInt(string(b), 10, 64); err == nil && e == nil {
			time.SoakOffset.Store(n)
		}
	}
	set()
	go func() {
		for range time.Tick(5 * time.Millisecond) {
			set()
		}
	}()
}
`

// buildStepping builds cmd/tidings with a wall clock that a file sets. The monotonic clock
// stays as it is. For that it replaces a file of package time, so that everything is compiled
// anew, which takes a minute or two. If that file is not as expected, the test is skipped, or
// fails with CI=true.
func buildStepping(t *testing.T) string {
	t.Helper()
	program, err := tryBuildStepping(t.TempDir())
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err)
	}
	return program
}

func tryBuildStepping(dir string) (program string, err error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	name := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	b, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	source := string(b)
	for _, change := range [][2]string{
		{"\nimport (\n", "\nimport (\n\t\"sync/atomic\"\n"},
		{"\tsec, nsec, mono := runtimeNow()\n", "\tsec, nsec, mono := runtimeNow()\n\tsec += SoakOffset.Load()\n"},
	} {
		if strings.Count(source, change[0]) != 1 {
			return "", fmt.Errorf("%s does not have %q once: this version of Go needs another way to set the wall clock", name, change[0])
		}
		source = strings.Replace(source, change[0], change[1], 1)
	}
	source += "\n// SoakOffset is how many seconds the wall clock is ahead.\nvar SoakOffset atomic.Int64\n"
	module, err := exec.Command("go", "list", "-f", "{{.Dir}}", "example.com/tidings/cmd/tidings").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	replaced := map[string]string{
		name: filepath.Join(dir, "time.go"),
		filepath.Join(strings.TrimSpace(string(module)), "zz_stepping.go"): filepath.Join(dir, "stepping.go"),
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	for file, content := range map[string]string{"time.go": source, "stepping.go": steppingSource, "overlay.json": string(overlay)} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600))
	}
	if err != nil {
		return "", err
	}
	program = filepath.Join(dir, "tidings")
	build := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", program, "example.com/tidings/cmd/tidings")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the program with a wall clock that steps cannot be built: %w\n%s", err, out)
	}
	return program, nil
}

// A stepping is a server whose wall clock a test sets.
type stepping struct {
	*process
	file string
	off  time.Duration
}

// serveStepping starts the program with a wall clock that is wrong by so much.
func serveStepping(t *testing.T, program string, way path, off time.Duration, args ...string) *stepping {
	t.Helper()
	s := &stepping{file: filepath.Join(t.TempDir(), "clock")}
	s.write(t, off)
	s.process = (&process{program: program, env: []string{"SOAK_CLOCK=" + s.file}, args: args, path: way}).serve(t)
	s.await(t)
	return s
}

// set makes the wall clock wrong by so much, and waits until the server has that.
func (s *stepping) set(t *testing.T, off time.Duration) {
	t.Helper()
	s.write(t, off)
	s.await(t)
}

func (s *stepping) write(t *testing.T, off time.Duration) {
	t.Helper()
	err := os.WriteFile(s.file+".new", []byte(strconv.Itoa(int(off/time.Second))), 0o600)
	if err == nil {
		err = os.Rename(s.file+".new", s.file)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.off = off
}

// await waits until the Date of an answer has the offset.
func (s *stepping) await(t *testing.T) {
	t.Helper()
	var date time.Time
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		res, err := http.Head("http://" + s.addr + "/topics")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if date, err = http.ParseTime(res.Header.Get("Date")); err != nil {
			t.Fatal(err)
		}
		if wrong := time.Until(date.Add(-s.off)); wrong > -5*time.Second && wrong < 5*time.Second {
			return
		}
	}
	t.Fatalf("the server's clock says %v, and should be wrong by %v", date, s.off)
}
