package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// timerSlack is how late Go's own timers may be: epoll counts in milliseconds.
const timerSlack = 1500 * time.Microsecond

// pause sleeps for d, to within some 60 µs. For the last part it blocks a thread in
// the kernel.
func pause(d time.Duration) {
	end := time.Now().Add(d)
	if d > timerSlack {
		time.Sleep(d - timerSlack)
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
