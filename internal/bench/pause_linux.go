package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// coarse is how much too late Go's own timers may be, as epoll counts in
// milliseconds.
const coarse = 1500 * time.Microsecond

// pause sleeps for d, to within some 60 µs: the last of it in the kernel, where it
// costs a thread.
func pause(d time.Duration) {
	end := time.Now().Add(d)
	if d > coarse {
		time.Sleep(d - coarse)
	}
	for {
		left := time.Until(end)
		if left <= 0 {
			return
		}
		ts := unix.NsecToTimespec(int64(left))
		unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil) // a signal ends it early
	}
}
