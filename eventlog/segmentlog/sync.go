package segmentlog

import (
	"cmp"
	"errors"
	"sync"
	"time"
)

// A syncer forces what was written to the disk, now and then. Its methods may be called
// concurrently.
type syncer struct {
	log *Log

	mu    sync.Mutex
	dirty []*segment // written since the last sync
	last  uint64     // the greatest number that was written
}

// wrote notes that a segment was written up to a number.
func (s *syncer) wrote(seg *segment, last uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.dirty); n == 0 || s.dirty[n-1] != seg {
		s.dirty = append(s.dirty, seg)
	}
	s.last = last
}

// run syncs at an interval until the log is closed.
func (s *syncer) run(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.log.closing.Done():
			return
		}
		if err := s.sync(); err != nil {
			s.log.fail(err)
			return
		}
	}
}

// sync returns when everything written is on the disk. After a failure it does what it can:
// a disk that has failed once may report success for what it has dropped.
func (s *syncer) sync() error {
	s.mu.Lock()
	dirty, last := s.dirty, s.last
	s.dirty = nil
	s.mu.Unlock()
	if len(dirty) == 0 {
		return nil
	}
	var failed error
	for _, seg := range dirty {
		f, err := seg.acquire()
		if errors.Is(err, errGone) {
			continue
		}
		if err == nil {
			err = f.sync()
			seg.release()
		}
		failed = cmp.Or(failed, err)
	}
	if failed != nil {
		return failed
	}
	if s.log.Err() != nil {
		return nil
	}
	err := s.log.state.update(func(st *state) { st.synced = max(st.synced, last) })
	if noRoom(err) { // an older state tells the next start less
		err = nil
	}
	return cmp.Or(err, s.log.state.sync())
}
