package eventlog

import "example.com/tidings/internal/logclock"

// NewMemoryWithClock is NewMemory with clocks that the test sets.
func NewMemoryWithClock(opts MemoryOptions, clock logclock.Source) Log {
	opts.clock = clock
	return NewMemory(&opts)
}
