package yield_test

import (
	"runtime"
	"sync/atomic"
	"testing"

	"example.com/tidings/internal/yield"
)

// While one goroutine works, others that wait for the same processor run now and then.
func TestOthersRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, nanos := range []int{1, 1000, 1 << 40} {
		var work yield.Work
		var ran atomic.Bool
		go ran.Store(true)
		// Go takes from its global queue first now and then, which has this goroutine.
		for range 10 * (aSlice/nanos + 1) {
			work.Did(nanos)
		}
		if !ran.Load() {
			t.Errorf("after work of 1 ms in steps of %d ns another goroutine has not run", nanos)
		}
	}
}
