//go:build linux

package main

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// patience bounds each short wait, in nanoseconds.
const patience = int64(20 * time.Second)

var start = time.Now()

// now returns the monotonic clock's time in nanoseconds. It has as many digits as
// the time in a mark.
func now() int64 { return 1e18 + int64(time.Since(start)) }

// bindAddressNoPort is IP_BIND_ADDRESS_NO_PORT. The port is chosen at connect, so
// only its combination with the server's port must be unique.
const bindAddressNoPort = 24

// dial begins to connect connection i to a port of this machine. It returns the
// descriptor, which does not block. One address has too few ports for all
// connections, so every 20,000 connections have their own address.
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
