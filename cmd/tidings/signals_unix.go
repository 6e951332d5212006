//go:build unix

package main

import (
	"os/signal"
	"syscall"
	"time"
)

// dieOf ends the process by a signal, as if the program did not catch it. It returns only if that
// is impossible.
func dieOf(sig syscall.Signal) {
	signal.Reset(sig)
	if syscall.Kill(syscall.Getpid(), sig) == nil {
		time.Sleep(time.Second) // until the signal has come
	}
}
