//go:build !linux

package server

import (
	"net"
	"time"
)

// inherit does nothing: on this system, connections do not inherit options.
func inherit(*net.ListenConfig, time.Duration) {}
