//go:build unix

package main

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// readerLooks is how often a command looks whether the reader of its output has left.
const readerLooks = 250 * time.Millisecond

// readerLeft returns when nobody can read any more what is written to a pipe or a socket, or when
// stop is closed. A program that writes nothing would not find that out otherwise.
func readerLeft(f *os.File, stop <-chan struct{}) (left bool) {
	fds := []unix.PollFd{{Fd: int32(f.Fd())}} // POLLERR and POLLHUP are always reported
	for {
		n, err := unix.Poll(fds, int(readerLooks/time.Millisecond))
		if err == nil && n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
			return true
		}
		if err != nil && err != unix.EINTR {
			return false
		}
		select {
		case <-stop:
			return false
		default:
		}
		if n > 0 {
			time.Sleep(readerLooks)
		}
	}
}
