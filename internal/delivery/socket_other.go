//go:build !linux

package delivery

import "math"

// sockets is nothing: there are no streams on sockets, so most of its functions are never
// called.
type sockets struct{}

// inquiries stands in a bound that nobody reads.
const inquiries = 1

func socketRoom() int                        { return math.MaxInt }
func (s *Shard) openSockets() error          { return nil }
func (s *Shard) poll() (more bool)           { return false }
func (s *Shard) serveSocket(uint32)          {}
func (s *Shard) closeSocket(*slot, Reason)   {}
func (s *Shard) shutSocket(*slot)            {}
func (s *Shard) tickSocket(uint32, *unusual) {}
func (s *Shard) inquire(uint32)              {}
func (k *sockets) close() error              { return nil }
