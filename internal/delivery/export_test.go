package delivery

import "unsafe"

// SlotSize is the size of a stream in a shard, in bytes.
const SlotSize = unsafe.Sizeof(slot{})

// Scheduled returns the number of scheduled ends, including those of ended streams.
func (s *Shard) Scheduled() int { return len(s.ends.entries) }
