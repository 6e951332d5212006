//go:build unix

package jepsen_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"example.com/tidings/internal/leak"
)

var (
	soak    = flag.Duration("soak", 0, "run all schedules, one after the other, for this long in all, with new seeds")
	seed    = flag.Uint64("seed", 0, "the seed of the schedules; 0 picks one")
	program = flag.String("program", "", "test this build of cmd/tidings instead of building one")
	logs    = flag.String("logs", "", "keep the nodes' logs in this folder")
	length  = flag.Duration("length", 15*time.Second, "begin faults for this long in each schedule")
	list    = flag.Int("list", 5, "print so many cases of each kind of failure")
)

// patience is the longest wait for what must happen. It only turns a hang into a failure.
const patience = time.Minute

func TestMain(m *testing.M) { leak.Main(withProgram{m}) }

// withProgram builds the program and then runs the tests.
type withProgram struct{ *testing.M }

func (m withProgram) Run() int {
	flag.Parse()
	if *program != "" || testing.Short() {
		return m.M.Run()
	}
	dir, err := os.MkdirTemp("", "tidings-jepsen")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	*program = filepath.Join(dir, "tidings")
	build := exec.Command("go", "build", "-o", *program, "example.com/tidings/cmd/tidings")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make dist does
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "go build:", err)
		return 1
	}
	return m.M.Run()
}
