//go:build linux || darwin

package bench

import (
	"fmt"
	"syscall"
	"time"
)

// spareFiles is the number of descriptors for everything except the connections.
const spareFiles = 64

// roomForFiles raises this process's limit of open files, if the connections need
// that. Its error is one line for the user.
func roomForFiles(connections int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil // the kernel will report when no descriptor is left
	}
	need := uint64(connections + spareFiles)
	if need <= limit.Cur {
		return nil
	}
	raised := syscall.Rlimit{Cur: need, Max: max(need, limit.Max)}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
		return nil
	}
	return fmt.Errorf("%d connections need %d open files, but this process may have %d: raise the limit (ulimit -n %d), or choose fewer --subscribers", connections, need, max(limit.Cur, limit.Max), need)
}

// ownCPU returns the time that this process has spent on processors.
func ownCPU() (time.Duration, bool) {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0, false
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), true
}
