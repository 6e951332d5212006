package segmentlog

import (
	"cmp"
	"errors"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// Retention raises the first number that is retained, and removes segments that have no
// other. The writer raises it when there is too much, and a goroutine when records are too
// old. The goroutine also removes the files.
type retention struct {
	log  *Log
	wake chan struct{} // has room for one

	mu   sync.Mutex
	size int64 // of all segments, up to their last frame

	left []*segment // run's: their files could not be removed

	used atomic.Bool // somebody appends to the log, or follows it
}

// idleRetention is after how long the age of records counts although nobody uses the log. Until
// somebody does, nothing is too old: who opens the log after a long time first reads what it had.
const idleRetention = time.Minute

// use is called when somebody has appended to the log, or follows it.
func (r *retention) use() {
	if !r.used.Load() {
		r.used.Store(true)
	}
}

// The bounds of how often the age of records is looked at.
const (
	leastTick = 10 * time.Millisecond
	mostTick  = time.Second
)

// idleFiles is after how long without a reader a segment's file is closed.
const idleFiles = 10 * time.Second

// grow adds frames of n bytes to a segment, and to the size.
func (r *retention) grow(s *segment, marks []mark, last uint64, end int64, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.extend(marks, last, end)
	r.size += int64(n)
}

// wrote removes what is too much after a group was written.
func (r *retention) wrote() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, err := r.bytes(r.log.first.Load())
	if err == nil {
		err = r.raise(next)
	}
	return err
}

// run retains until the log is closed.
func (r *retention) run() {
	tick := mostTick
	if r.log.opts.MaxAge > 0 {
		tick = max(min(tick, r.log.opts.MaxAge/16), leastTick)
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	opened := time.Now()
	for {
		select {
		case <-r.wake:
		case <-ticker.C:
			if time.Since(opened) > idleRetention {
				r.use()
			}
			if err := r.expire(); err != nil && r.log.Err() == nil {
				r.log.opts.Logger.Warn("the age of messages cannot be told; the log tries again", "error", err)
			}
			since := time.Now().Add(-idleFiles)
			for _, s := range r.log.list() {
				s.closeIdle(since)
			}
		case <-r.log.closing.Done():
			return
		}
		if err := r.drop(); err != nil && r.log.Err() == nil {
			r.log.opts.Logger.Warn("old messages cannot be removed from the disk; the log tries again", "error", err)
		}
	}
}

// raise makes a number the first that is retained. Callers hold mu. After a failure of the
// log nothing is removed any more.
func (r *retention) raise(next uint64) error {
	if next <= r.log.first.Load() || r.log.Err() != nil {
		return nil
	}
	// Before drop may remove a segment.
	if err := r.log.state.update(func(st *state) { st.first = next }); err != nil {
		return r.log.broken(err)
	}
	r.log.first.Store(next)
	if list := r.log.list(); len(list) > 1 && list[1].first <= next {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// bytes returns the first number from which on no more than MaxBytes are retained. The
// newest record always is. Callers hold mu.
func (r *retention) bytes(first uint64) (uint64, error) {
	if r.log.opts.MaxBytes <= 0 {
		return first, nil
	}
	excess := r.size - r.log.opts.MaxBytes // counted from the beginning of the oldest segment
	list := r.log.list()
	for i := 0; excess > 0; i++ {
		s := list[i]
		if _, end := s.extent(); excess >= end && i+1 < len(list) {
			first = max(first, list[i+1].first)
			excess -= end
			continue
		}
		seq, err := s.seqAt(excess)
		last, _ := list[len(list)-1].extent()
		return max(first, min(seq, last)), err
	}
	return first, nil
}

// measure sets the size to that of the segments: their files may be larger than was thought
// before they were read.
func (r *retention) measure() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.size = 0
	for _, s := range r.log.list() {
		_, end := s.extent()
		r.size += end
	}
}

// expire raises the first number to that of the first record that is not too old.
func (r *retention) expire() error {
	r.measure()
	r.mu.Lock()
	defer r.mu.Unlock()
	next, err := r.bytes(r.log.first.Load())
	if err == nil && r.log.opts.MaxAge > 0 && r.used.Load() {
		next, err = r.age(next)
	}
	if err == nil {
		err = r.raise(next)
	}
	return err
}

// age returns the first number from the given one on whose record is not too old. A lost
// record counts as old as the next one.
func (r *retention) age(first uint64) (uint64, error) {
	oldest := nanosOf(r.log.clock.Now().Add(-r.log.opts.MaxAge))
	_, next, err := r.log.firstSince(oldest, first, r.log.lastSeq())
	return next, err
}

// drop removes the segments that have no retained record. The newest one stays.
func (r *retention) drop() error {
	r.mu.Lock() // until the state has the first number
	list, first := r.log.list(), r.log.first.Load()
	r.mu.Unlock()
	n := 0
	for n+1 < len(list) && list[n+1].first <= first {
		n++
	}
	if n == 0 && len(r.left) == 0 || r.log.Err() != nil {
		return nil
	}
	// Otherwise a start after a loss of power, or with a damaged slot of the state, would take
	// what has expired for lost. This write makes the first number known to both slots.
	if err := cmp.Or(r.log.state.update(func(*state) {}), r.log.state.sync()); err != nil {
		return r.log.broken(err)
	}
	var failed error
	list, r.left = append(r.left, r.forget(n)...), nil
	for _, s := range list {
		if err := s.drop(); err != nil {
			failed = err
			r.left = append(r.left, s)
		}
	}
	return failed
}

// forget takes the oldest n segments out of the list, and returns them.
func (r *retention) forget(n int) []*segment {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log.changing.Lock()
	defer r.log.changing.Unlock()
	list := r.log.list()
	rest := list[n:]
	r.log.segments.Store(&rest)
	for _, s := range list[:n] {
		_, end := s.extent()
		r.size -= end
	}
	return list[:n]
}

// seqAt returns one more than the number of the last frame that begins before an offset, or
// the first number if there is none. If the file cannot be read, the number may be that of a
// later frame, or the segment's first one if nothing is known of it.
func (s *segment) seqAt(off int64) (uint64, error) {
	if err := s.load(); err != nil && !errors.Is(err, errUnreadable) {
		return 0, err
	}
	s.mu.Lock()
	i := sort.Search(len(s.marks), func(i int) bool { return s.marks[i].off > off })
	from, end, next, last := int64(0), s.end, s.first, s.last
	marked := last + 1
	if i > 0 {
		from = s.marks[i-1].off
	}
	if i < len(s.marks) {
		marked = s.marks[i].seq
	}
	s.mu.Unlock()
	f, err := s.acquire()
	if errors.Is(err, errUnreadable) {
		return marked, nil
	}
	if err != nil {
		return 0, err
	}
	defer s.release()
	c := newCursor(f, s.salt, from, end, s.waitErased)
	defer c.close()
	for fr, ok := c.next(); ok; fr, ok = c.next() {
		if fr.off >= off {
			return next, nil
		}
		next = fr.seq + 1
	}
	return last + 1, nil
}
