package server

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout returns a function that sets TCP_USER_TIMEOUT on a listener,
// whose connections inherit it. The kernel then closes a connection whose peer
// has acknowledged nothing for d (RFC 5482). Without it a peer that vanished
// goes unnoticed while the kernel's buffers take what is written and it goes on
// retransmitting: some fifteen minutes.
func userTimeout(d time.Duration) func(network, address string, c syscall.RawConn) error {
	ms := max(1, int(d.Milliseconds()))
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		if ctlErr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, ms)
		}); ctlErr != nil {
			return ctlErr
		}
		return err
	}
}
