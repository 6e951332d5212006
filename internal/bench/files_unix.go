//go:build linux || darwin

package bench

import (
	"fmt"
	"syscall"
	"time"
)

// spareFiles are descriptors for what is not a subscriber.
const spareFiles = 64

// roomForFiles raises how many files this process may have open to what so many
// connections need. Its error is one line for the user.
func roomForFiles(connections int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil // the kernel will say it when there is no more
	}
	need := uint64(connections + spareFiles)
	if need <= limit.Cur {
		return nil
	}
	raised := syscall.Rlimit{Cur: need, Max: max(need, limit.Max)}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
		return nil
	}
	return fmt.Errorf("%d connections need %d open files, and this process may have %d: raise the limit (ulimit -n %d), or choose fewer --subscribers", connections, need, max(limit.Cur, limit.Max), need)
}

// ownCPU returns the time that this process has spent on processors.
func ownCPU() (time.Duration, bool) {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0, false
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), true
}
