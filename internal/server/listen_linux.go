package server

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inherit has each connection of a listener inherit its options from it: to set them on
// each takes four system calls.
//
// TCP_USER_TIMEOUT has the kernel close a connection whose peer has acknowledged nothing
// for the timeout (RFC 5482). Without it a peer that vanished goes unnoticed while the
// kernel's buffers take what is written and it goes on retransmitting: some fifteen
// minutes. The keep-alives are those that Go sets by itself.
func inherit(lc *net.ListenConfig, timeout time.Duration) {
	lc.KeepAlive = -1 // is not set on each
	options := []struct{ level, name, value int }{
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, max(1, int(timeout.Milliseconds()))},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
	}
	lc.Control = func(_, _ string, c syscall.RawConn) (err error) {
		ctlErr := c.Control(func(fd uintptr) {
			for _, o := range options {
				if err == nil {
					err = unix.SetsockoptInt(int(fd), o.level, o.name, o.value)
				}
			}
		})
		if ctlErr != nil {
			return ctlErr
		}
		return err
	}
}
