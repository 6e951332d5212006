package delivery

import "unsafe"

// SlotSize is how many bytes a stream takes in a shard.
const SlotSize = unsafe.Sizeof(slot{})

// Scheduled returns how many streams have a time at which they end, or had one.
func (s *Shard) Scheduled() int { return len(s.ends.due) }
