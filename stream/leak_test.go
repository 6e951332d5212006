package stream_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails the run when a goroutine that was not there at its beginning
// is still there some time after its end.
func TestMain(m *testing.M) {
	before := goroutines()
	code := m.Run()
	if left := leaked(before, 5*time.Second); len(left) > 0 && code == 0 {
		fmt.Fprintf(os.Stderr, "%d goroutines left behind:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
		code = 1
	}
	os.Exit(code)
}

// goroutines returns the stacks of all goroutines but the calling one, by the
// goroutine's number.
func goroutines() map[string]string {
	buf := make([]byte, 64<<10)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	all := map[string]string{}
	for i, stack := range strings.Split(strings.TrimSpace(string(buf)), "\n\n") {
		if i == 0 {
			continue // the calling goroutine comes first
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
		all[id] = stack
	}
	return all
}

// leaked returns the stacks of the goroutines that are not in before. It waits
// up to patience for them to end.
func leaked(before map[string]string, patience time.Duration) []string {
	deadline := time.Now().Add(patience)
	for {
		var left []string
		for id, stack := range goroutines() {
			if _, old := before[id]; !old {
				left = append(left, stack)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestLeakCheckFindsAGoroutine(t *testing.T) {
	before := goroutines()
	started, stop := make(chan struct{}), make(chan struct{})
	go leakOnPurpose(started, stop)
	<-started
	left := leaked(before, 0)
	if len(left) != 1 || !strings.Contains(left[0], "leakOnPurpose") {
		t.Errorf("with a goroutine left: leaked = %q", left)
	}
	close(stop)
	if left := leaked(before, 5*time.Second); len(left) > 0 {
		t.Errorf("after it has ended: leaked = %q", left)
	}
}

func leakOnPurpose(started, stop chan struct{}) {
	close(started)
	<-stop
}
