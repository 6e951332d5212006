package bench

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// loopbackNet says that all of 127.0.0.0/8 is this machine's without more ado.
const loopbackNet = true

// latePort has a socket that is bound to an address choose its port when it
// connects, so that a port may serve several peers.
func latePort(c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); e != nil {
		return e
	}
	return err
}
