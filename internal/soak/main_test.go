//go:build unix

package soak_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"example.com/tidings/internal/leak"
)

var (
	soak    = flag.Duration("soak", 0, "repeat each test for this long, with new seeds and more clients")
	seed    = flag.Uint64("seed", 0, "the seed of all randomness; 0 picks a new one")
	program = flag.String("program", "", "test this build of cmd/tidings instead of building one")
)

// patience is the longest wait for an event that must happen. It only turns a hang
// into a failure.
const patience = 2 * time.Minute

func TestMain(m *testing.M) { leak.Main(withProgram{m}) }

// withProgram builds the program and then runs the tests.
type withProgram struct{ *testing.M }

func (m withProgram) Run() int {
	flag.Parse()
	if *program != "" {
		return m.M.Run()
	}
	dir, err := os.MkdirTemp("", "tidings-soak")
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

// rounds runs a test once on each path, with a seed. In a soak it repeats that, with new
// seeds, as long as the soak lasts.
func rounds(t *testing.T, test func(t *testing.T, seed uint64, p path)) {
	end := time.Now().Add(*soak)
	for round := 0; round == 0 || time.Now().Before(end) && !t.Failed(); round++ {
		s := *seed
		if s == 0 || round > 0 {
			s = rand.Uint64()
		}
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			bothPaths(t, func(t *testing.T, p path) { test(t, s, p) })
		})
	}
}

// inSoak returns soaked in a soak, and test otherwise.
func inSoak(test, soaked int) int {
	if *soak > 0 {
		return soaked
	}
	return test
}
