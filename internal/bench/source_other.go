//go:build !linux

package bench

import "syscall"

const loopbackNet = false

func latePort(syscall.RawConn) error { return nil }
