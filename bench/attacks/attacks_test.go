//go:build linux

package main_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	main "example.com/tidings/bench/attacks"
)

var program = flag.String("program", "", "attack this build of cmd/tidings instead of building one")

// TestMain is also the control group's process, and builds the program.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == main.ControlCommand {
		fmt.Fprintln(os.Stderr, main.ControlMain(os.Args[2], os.Args[3:]))
		os.Exit(1)
	}
	flag.Parse()
	flag.Set("test.parallel", "4") // the attackers mostly wait for the servers
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if err := main.RaiseFileLimit(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if *program == "" {
		dir, err := os.MkdirTemp("", "tidings-attacks")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		*program = filepath.Join(dir, "tidings")
		build := exec.Command("go", "build", "-o", *program, "./cmd/tidings")
		build.Dir = "../.."
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make dist does
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "go build:", err)
			return 1
		}
	}
	return m.Run()
}

// Each attack in a short form. It fails for an outage, for messages that are lost or come twice,
// for more than 256 MB of memory, for a server that keeps descriptors, goroutines or memory, and
// for one that does not end.
func TestAttacksHurtNobody(t *testing.T) {
	divisor := 4
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if files.Cur < 8000 {
		divisor = 32
	}
	for _, names := range main.Groups() {
		t.Run(names[0], func(t *testing.T) {
			t.Parallel()
			missed, log, err := main.RunShort(*program, names, divisor, t.Output())
			for _, sentence := range missed {
				t.Error(sentence)
			}
			if err != nil {
				t.Error(err)
			}
			if t.Failed() {
				t.Logf("the end of the server's log:\n%s", log[max(0, len(log)-4096):])
			}
		})
	}
}
