//go:build !linux

package server

import (
	"syscall"
	"time"
)

// userTimeout does nothing where TCP_USER_TIMEOUT does not exist.
func userTimeout(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }
