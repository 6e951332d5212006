//go:build linux

package main

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// patience bounds, in nanoseconds, each wait for something that takes a moment.
const patience = int64(20 * time.Second)

var start = time.Now()

// now returns the monotonic clock's time in nanoseconds, which has as many digits
// as a mark has.
func now() int64 { return 1e18 + int64(time.Since(start)) }

// bindAddressNoPort is IP_BIND_ADDRESS_NO_PORT: the port is chosen when it
// connects, so that it need only be unique together with the server's.
const bindAddressNoPort = 24

// dial begins to connect the connection number i to a port of this machine, and
// returns its descriptor, which does not block. There are more connections than
// one address has ports: each 20,000 have one of their own.
func dial(i, port int) (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if err = syscall.SetsockoptInt(fd, syscall.SOL_IP, bindAddressNoPort, 1); err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, byte(i/20000 + 1), 1}})
	}
	if err == nil {
		err = syscall.Connect(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	}
	if err != nil && !errors.Is(err, syscall.EINPROGRESS) {
		syscall.Close(fd)
		return -1, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}
