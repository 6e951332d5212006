package bench

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// loopbackNet says that every address in 127.0.0.0/8 is usable without configuration.
const loopbackNet = true

// latePort delays the choice of a bound socket's port until it connects, so that one
// port can serve several peers.
func latePort(c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); e != nil {
		return e
	}
	return err
}
