package jetlog

import (
	"sync"
	"time"
)

// room tracks how much of the disk is free. It asks the system now and then. In
// between, it subtracts the bytes that it has allowed.
type room struct {
	dir     string
	reserve int64 // bytes to keep free; negative: no check

	mu    sync.Mutex
	asked time.Time
	free  int64 // when asked
	since int64 // allowed since asked
}

// The system's answer is good for this long, and for this many bytes.
const (
	roomAge   = 100 * time.Millisecond
	roomBytes = 1 << 20
)

// recordOverhead is more than the disk space that a message takes beyond its parts.
const recordOverhead = 256

// allow reports whether the reserve stays free after n more bytes. It allows the
// bytes if the system does not tell.
func (r *room) allow(n int64) bool {
	if r.reserve < 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); r.since >= roomBytes || now.Sub(r.asked) >= roomAge {
		free, err := freeBytes(r.dir)
		if err != nil {
			return true
		}
		r.asked, r.free, r.since = now, free, 0
	}
	if r.free-r.since-n < r.reserve {
		return false
	}
	r.since += n
	return true
}

// recovered reports whether a full disk has room again: the reserve and a little
// more, so that the log does not soon fail again.
func (r *room) recovered() bool {
	free, err := freeBytes(r.dir)
	return err != nil || free >= max(r.reserve, 0)+roomBytes
}
