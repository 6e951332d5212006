package delivery

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Detach returns a duplicate of a connection's descriptor, and closes the connection,
// which the peer does not notice. What a net.Conn holds is given back: some 900 bytes, 585 of
// them the poller's, which never returns them to the system.
//
// With an error the connection is as it was.
func Detach(conn *net.TCPConn) (fd int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("delivery: %w", err)
	}
	dupErr := error(nil)
	if err := raw.Control(func(was uintptr) {
		fd, dupErr = unix.FcntlInt(was, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return -1, fmt.Errorf("delivery: %w", err)
	}
	if dupErr != nil {
		return -1, fmt.Errorf("delivery: duplicate a socket: %w", dupErr)
	}
	conn.Close()
	return fd, nil
}
