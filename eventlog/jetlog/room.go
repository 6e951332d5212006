package jetlog

import (
	"sync"
	"time"
)

// room watches how much of the disk is free. It asks the system now and then, and
// in between reckons with what was allowed.
type room struct {
	dir     string
	reserve int64 // kept; negative: nothing is checked

	mu    sync.Mutex
	asked time.Time
	free  int64 // then
	since int64 // allowed since then
}

// How long, and for how many bytes, an answer of the system is good.
const (
	roomAge   = 100 * time.Millisecond
	roomBytes = 1 << 20
)

// recordOverhead is more than what a message takes on the disk beyond its parts.
const recordOverhead = 256

// allow reports whether n bytes more leave the reserve free. A system that does
// not tell is not a full one.
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

// recovered reports whether there is room to write again after there was none:
// the reserve and a little more, so that the log does not come and go.
func (r *room) recovered() bool {
	free, err := freeBytes(r.dir)
	return err != nil || free >= max(r.reserve, 0)+roomBytes
}
