package jetlog

import (
	"sync"
	"sync/atomic"
)

// head is the last acknowledged sequence number. It wakes the goroutines that wait
// for a later one.
type head struct {
	seq atomic.Uint64

	mu   sync.Mutex
	wake chan struct{} // nil while nobody waits
}

// advance raises the head to seq. It never lowers the head.
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

// wait returns the head, and a channel that is closed when the head advances.
func (h *head) wait() (uint64, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wake == nil {
		h.wake = make(chan struct{})
	}
	return h.seq.Load(), h.wake
}
