package server

import (
	"net"

	"golang.org/x/sys/unix"
)

// isPlainHTTP1 waits until the client has sent enough to know that it does not begin as
// HTTP/2 does: a byte for almost every method of HTTP/1. It reads nothing. It returns an error
// if the connection ends, or its deadline passes, before that is known.
func isPlainHTTP1(conn net.Conn) (bool, error) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return false, nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false, err
	}
	const start = "PRI" // of clientPreface, and of no method of HTTP/1
	var buf [len(start)]byte
	var n int
	var peekErr error
	err = raw.Read(func(fd uintptr) bool {
		for peekErr = unix.EINTR; peekErr == unix.EINTR; {
			n, _, peekErr = unix.Recvfrom(int(fd), buf[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		}
		switch {
		case peekErr == unix.EAGAIN:
			return false
		case peekErr != nil, n <= 0, n == len(start):
			return true
		}
		return string(buf[:n]) != start[:n]
	})
	if err == nil {
		err = peekErr
	}
	return err == nil && string(buf[:max(n, 0)]) != start, err
}
