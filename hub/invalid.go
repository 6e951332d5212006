package hub

import "sync"

// invalids knows the records that no stream can be sent and that were logged, so that each
// is logged once.
type invalids struct {
	mu     sync.Mutex
	n      uint64
	logged map[string]struct{} // by id
}

// mostLogged is how many invalid records are logged.
const mostLogged = 1000

func (v *invalids) count() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.n
}

// add takes note of an id, and reports whether it is to be logged.
func (v *invalids) add(id string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, known := v.logged[id]; known || len(v.logged) == mostLogged {
		return false
	}
	if v.logged == nil {
		v.logged = map[string]struct{}{}
	}
	v.logged[id] = struct{}{}
	v.n++
	return true
}

// note logs and counts a record that no stream can be sent.
func (h *Hub) note(e *entry) {
	if e.invalid && h.invalid.add(e.id) {
		h.opts.Logger.Error("hub: a message in the log cannot be sent: its type has a line end; streams skip it with a gap", "topic", e.Topic, "id", e.id)
	}
}
