package leak

import (
	"strings"
	"testing"
	"time"
)

func TestWaitFindsAGoroutineThatDoesNotEnd(t *testing.T) {
	before := map[string]bool{}
	for id := range goroutines() {
		before[id] = true
	}
	stop := make(chan struct{})
	started := make(chan struct{})
	go lingering(started, stop)
	<-started
	if left := wait(before, 50*time.Millisecond); !strings.Contains(left, "lingering") {
		t.Errorf("wait found %q", left)
	}
	close(stop)
	if left := wait(before, patience); left != "" {
		t.Errorf("after the end wait found %q", left)
	}
}

func lingering(started chan<- struct{}, stop <-chan struct{}) {
	close(started)
	<-stop
}
