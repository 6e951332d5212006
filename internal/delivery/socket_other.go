//go:build !linux

package delivery

import "math"

// sockets is empty: there are no streams on sockets, and most functions here are never called.
type sockets struct{}

// peerChecks is part of a computation whose result is unused.
const peerChecks = 1

func socketLimit() int                            { return math.MaxInt }
func (s *Shard) openSockets() error               { return nil }
func (s *Shard) poll() (more bool)                { return false }
func (s *Shard) serveSocket(uint32)               {}
func (s *Shard) closeSocket(uint32, Reason)       {}
func (s *Shard) shutSocket(*slot, *pendingWrite)  {}
func (s *Shard) tickSocket(uint32, *pendingWrite) {}
func (s *Shard) checkPeer(uint32)                 {}
func (k *sockets) close() error                   { return nil }

func (s *Shard) hasTaken(*slot, *pendingWrite) bool { return false }
