//go:build !linux

package server

import "net"

// isPlainHTTP1 returns false: on this system no connection is taken over, so each of them can
// be a countedConn, which finds out by itself.
func isPlainHTTP1(net.Conn) (bool, error) { return false, nil }

// hasUnread returns false: on this system that is not known.
func hasUnread(net.Conn) bool { return false }

// readBytes returns 0: on this system that is not known.
func readBytes(net.Conn) int64 { return 0 }

// hungUp returns false: on this system that is not known.
func hungUp(net.Conn) bool { return false }
