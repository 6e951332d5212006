package dispatch

import (
	"sync"

	"example.com/tidings/internal/window"
)

// A queue has what the window has told a feed, until the feed takes it. Its methods may be
// called concurrently.
type queue struct {
	mostEntries, mostBytes int

	mu      sync.Mutex
	idle    bool         // the shard has no streams, and need not wake for entries
	view    *window.View // not nil if the window was read from the log anew
	passed  uint64       // the last entry that came while the feed was idle
	dropped uint64       // the last entry that was dropped because there were too many
	entries []*window.Entry
	taken   int // of entries
	bytes   int // of the others
}

// A queue may have more entries than the window, while their bytes are no more: to match
// them takes less than to read the log for each stream. It may have so much beside a small
// window, too.
const (
	queueWindows    = 4
	leastQueue      = 4096
	leastQueueBytes = 8 << 20
)

// news is what comes before the entries of a queue.
type news struct {
	view            *window.View
	passed, dropped uint64
}

// add adds new entries, and reports whether the shard has to wake for them. If there are more
// than the bounds allow, the queue drops all.
func (q *queue) add(entries []*window.Entry) (wake bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(entries) == 0 {
		return false
	}
	last := entries[len(entries)-1].Seq
	if q.idle {
		q.passed = last
		return false
	}
	for _, e := range entries {
		q.bytes += e.Size()
	}
	if len(q.entries)-q.taken+len(entries) > q.mostEntries || q.bytes > q.mostBytes {
		q.empty()
		q.dropped = last
		return true
	}
	if q.taken > len(q.entries)/2 {
		n := copy(q.entries, q.entries[q.taken:])
		clear(q.entries[n:])
		q.entries, q.taken = q.entries[:n], 0
	}
	q.entries = append(q.entries, entries...)
	return true
}

// empty drops all entries. Callers hold mu.
func (q *queue) empty() { q.entries, q.taken, q.bytes = nil, 0, 0 }

// length returns how many entries wait.
func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.entries) - q.taken
}

// renew drops everything for a view that was read from the log anew.
func (q *queue) renew(v *window.View) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.empty()
	q.view, q.passed, q.dropped = v, 0, 0
}

// setIdle notes whether the shard has streams. An idle queue gets no entries.
func (q *queue) setIdle(idle bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.idle = idle
}

// news returns what comes before the entries, once.
func (q *queue) news() (n news) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = news{q.view, q.passed, q.dropped}
	q.view, q.passed, q.dropped = nil, 0, 0
	return n
}

// maxKeptEntries is the largest capacity that an empty queue keeps.
const maxKeptEntries = 1024

// take moves the first entries to a slice, as far as it has capacity. It takes none while
// there are news. left reports whether there is more to take.
func (q *queue) take(to []*window.Entry) (_ []*window.Entry, left bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.view != nil || q.dropped > 0 {
		return to[:0], true
	}
	n := min(cap(to), len(q.entries)-q.taken)
	first := q.entries[q.taken : q.taken+n]
	to = append(to[:0], first...)
	clear(first)
	q.taken += n
	for _, e := range to {
		q.bytes -= e.Size()
	}
	if q.taken < len(q.entries) {
		return to, true
	}
	if q.entries, q.taken = q.entries[:0], 0; cap(q.entries) > maxKeptEntries {
		q.entries = nil
	}
	return to, q.passed > 0
}
