package server

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// isPlainHTTP1 waits until the client has sent enough to know that it does not begin as
// HTTP/2 does: a byte for almost every method of HTTP/1. It reads nothing. It returns an error
// if the connection ends, or its deadline passes, before that is known.
func isPlainHTTP1(conn net.Conn) (bool, error) {
	raw, err := rawConn(conn)
	if err != nil || raw == nil {
		return false, err
	}
	const start = "PRI" // of clientPreface, and of no method of HTTP/1
	var buf [len(start)]byte
	var n int
	var peekErr error
	err = raw.Read(func(fd uintptr) bool {
		n, peekErr = peek(fd, buf[:])
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

// hasUnread reports whether the client has sent bytes that the server has not read.
func hasUnread(conn net.Conn) bool {
	raw, err := rawConn(conn)
	if err != nil || raw == nil {
		return false
	}
	n := 0
	err = raw.Control(func(fd uintptr) {
		var buf [1]byte
		n, _ = peek(fd, buf[:])
	})
	return err == nil && n > 0
}

// readBytes returns how many bytes the server has read from a connection.
func readBytes(conn net.Conn) (n int64) {
	raw, err := rawConn(conn)
	if err != nil || raw == nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { // a closed connection has nothing
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		// In this order, so that the difference is never too large.
		if unread, err := unix.IoctlGetInt(int(fd), unix.SIOCINQ); err == nil {
			n = max(0, int64(info.Bytes_received)-int64(unread))
		}
	})
	return n
}

// hungUp reports whether the client has closed its side of a connection, which may have bytes that
// were not read.
func hungUp(conn net.Conn) (yes bool) {
	raw, err := rawConn(conn)
	if err != nil || raw == nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) { // the end of a closed connection is known
		state := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(state, 0)
		yes = err == nil && n > 0
	})
	return yes
}

// rawConn returns nil for a connection that is not plain TCP.
func rawConn(conn net.Conn) (syscall.RawConn, error) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, nil
	}
	return tcp.SyscallConn()
}

// peek reads what has come into buf, and leaves it there.
func peek(fd uintptr, buf []byte) (n int, err error) {
	for err = unix.EINTR; err == unix.EINTR; {
		n, _, err = unix.Recvfrom(int(fd), buf, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	}
	return n, err
}
