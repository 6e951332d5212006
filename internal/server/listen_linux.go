package server

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inherit sets the options on the listener, from which each connection inherits them. To
// set them on each connection takes four system calls.
//
// With TCP_USER_TIMEOUT the kernel closes a connection whose peer has acknowledged nothing
// for the timeout (RFC 5482). Without it, the kernel buffers and retransmits for some
// fifteen minutes before it notices that a peer has vanished. The keep-alive values are
// those that Go sets by itself.
func inherit(lc *net.ListenConfig, timeout time.Duration) {
	lc.KeepAlive = -1 // Go sets nothing on each connection
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
