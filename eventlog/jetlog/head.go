package jetlog

import (
	"sync"
	"sync/atomic"
)

// head is the last sequence number that was acknowledged, and wakes those that
// wait for a later one.
type head struct {
	seq atomic.Uint64

	mu   sync.Mutex
	wake chan struct{} // nil while nobody waits
}

// advance sets the head, unless it is further already.
func (h *head) advance(seq uint64) {
	for {
		old := h.seq.Load()
		if seq <= old {
			return
		}
		if h.seq.CompareAndSwap(old, seq) {
			break
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wake != nil {
		close(h.wake)
		h.wake = nil
	}
}

// wait returns the head, and a channel that is closed when it is further.
func (h *head) wait() (uint64, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wake == nil {
		h.wake = make(chan struct{})
	}
	return h.seq.Load(), h.wake
}
