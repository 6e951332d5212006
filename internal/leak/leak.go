// Package leak fails a package's tests when they leave goroutines behind.
package leak

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// patience is how long Main waits for goroutines that are about to end.
const patience = 30 * time.Second

// Main runs the tests of a package and exits. It reports a failure if
// goroutines remain that were not there before the tests. TestMain calls it
// with its *testing.M, or with a wrapper of that.
func Main(m interface{ Run() int }) {
	before := map[string]bool{}
	for id := range goroutines() {
		before[id] = true
	}
	code := m.Run()
	if code == 0 {
		if left := wait(before, patience); left != "" {
			fmt.Fprintf(os.Stderr, "goroutines left behind:\n\n%s\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

// wait waits until only the goroutines in before are left. If others remain
// after patience, wait returns their stacks.
func wait(before map[string]bool, patience time.Duration) string {
	deadline := time.Now().Add(patience)
	for {
		var left []string
		for id, stack := range goroutines() {
			if !before[id] && !ours(stack) {
				left = append(left, stack)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return strings.Join(left, "\n\n")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// ours reports whether a goroutine belongs to the test runner or the runtime.
func ours(stack string) bool {
	for _, s := range []string{"testing.(*M).", "testing.(*F).", "os/signal.", "runtime/pprof.", "runtime.ensureSigM", "leak.goroutines"} {
		if strings.Contains(stack, s) {
			return true
		}
	}
	return false
}

// goroutines returns the stacks of all goroutines, by goroutine id.
func goroutines() map[string]string {
	buf := make([]byte, 1<<16)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	stacks := map[string]string{}
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		id, _, _ := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
		stacks[id] = stack
	}
	return stacks
}
