//go:build linux || darwin

package bench_test

import (
	"syscall"
	"testing"

	"example.com/tidings/internal/bench"
)

// raised reports whether this process may open as many files as the largest run
// needs.
func raised(t *testing.T) bool {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	need := uint64(bench.MaxSubscribers) + 100
	more := syscall.Rlimit{Cur: limit.Cur, Max: max(limit.Max, need)}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &more) == nil
}
