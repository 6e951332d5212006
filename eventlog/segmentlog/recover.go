package segmentlog

import (
	"errors"
	"io/fs"
	"slices"
)

// A recovered is what a start has found out of a log.
type recovered struct {
	first    uint64 // the first number that is retained
	epoch    uint64 // where the epoch of this start begins
	next     uint64 // the next number
	segments []*segment
	unsynced bool // power was lost, and may have taken what was not synced
	lost     bool // it has
}

// recover finds out where the log begins, where the epoch of this start does, and which
// number comes next. In doubt the epoch begins with a number that is left out, which readers
// then take for a lost message. copied says that the folder is a copy.
func (l *Log) recover(found []*segment, known state, ok, copied bool) (r recovered, err error) {
	next := uint64(1)
	doubt, rest := (!ok || copied) && len(found) > 0, false
	crashed := !ok || known.flags&stateClean == 0
	restarted := !ok || known.boot == 0 || known.boot != l.opts.bootID() // the machine, as far as is known
	r.unsynced = ok && crashed && restarted && known.flags&stateAlways == 0
	if r.unsynced {
		if err := rescan(after(found, known.synced)); err != nil {
			return recovered{}, err
		}
	}
	// The newest segments without a record are left from starts that stored nothing.
	for n := len(found); n > 0; n = len(found) {
		newest := found[n-1]
		err := newest.load()
		if err == nil {
			_, end := newest.extent()
			rest, err = newest.unfinished(end)
		}
		if errors.Is(err, errUnreadable) {
			rest, err = true, nil
		}
		if err != nil {
			return recovered{}, err
		}
		last, _ := newest.extent()
		next = max(next, last+1)
		if rest && (crashed && restarted || l.state.half) {
			doubt = true // the machine may have gone down before the disk had everything
		}
		if len(newest.marks) > 0 || rest {
			break
		}
		if err := newest.drop(); err != nil {
			return recovered{}, err
		}
		found = found[:n-1]
	}
	if ok {
		next = max(next, known.acknowledged+1)
	}
	r.epoch = next
	if r.unsynced {
		doubt = true
		r.lost = l.reportLost(found, max(known.synced+1, known.first), next)
	}
	if doubt {
		next++
		l.opts.Logger.Error("the log may have lost its newest messages"+whatToDo, "from", next-1)
	}
	r.next, r.first, r.segments = next, next, found
	if len(found) > 0 {
		r.first = found[0].first
	}
	if ok {
		r.first = min(max(known.first, 1), next)
	}
	if crashed || copied || known.flags&stateStale != 0 {
		if copied || known.flags&stateStale != 0 {
			known.synced = 0 // nobody knows which records were being erased
		}
		if err := syncAll(after(found, known.synced)); err != nil {
			return recovered{}, err
		}
	}
	if n := len(found); n > 1 {
		// It may have been sealed when the process died: then its file is larger than its
		// records.
		if err := found[n-2].load(); err != nil && !errors.Is(err, errUnreadable) {
			return recovered{}, err
		}
	}
	if n := len(found); n > 0 {
		if last, _ := found[n-1].extent(); next > last+1 {
			found[n-1].note(span{last + 1, next - 1})
			if !doubt {
				l.opts.Logger.Error("the log has lost its newest messages"+whatToDo, "first", last+1, "last", next-1, "file", found[n-1].path)
			}
		}
		// It gets no more frames. What stands behind the last one stays, if it may be a record.
		if !rest {
			l.seal(found[n-1])
		}
	}
	return r, nil
}

// after returns the segments that may have a greater number than one.
func after(found []*segment, seq uint64) []*segment {
	for len(found) > 1 && found[1].first <= seq+1 {
		found = found[1:]
	}
	return found
}

// syncAll forces segments to the disk. The process that wrote them, or erased records in them,
// was killed before it could do that.
func syncAll(segments []*segment) error {
	for _, s := range segments {
		f, err := s.acquire()
		if errors.Is(err, errUnreadable) {
			continue
		}
		if err != nil {
			return err
		}
		err = f.sync()
		s.release()
		if err != nil {
			return err
		}
	}
	return nil
}

// rescan finds out what a loss of power has left of segments that were not synced. Their
// sidecars are of no use: they may have reached the disk where records have not.
func rescan(segments []*segment) error {
	for _, s := range segments {
		if err := s.files.remove(s.sidecar()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		s.mu.Lock()
		s.loaded = false
		s.mu.Unlock()
		err := s.load()
		if errors.Is(err, errUnreadable) {
			continue
		}
		if err != nil {
			return err
		}
		_ = s.saveSidecar() // without one, the next start reads the segment again
	}
	return nil
}

// reportLost logs which numbers are missing, from one on and before another, and reports
// whether there are any.
func (l *Log) reportLost(found []*segment, from, before uint64) bool {
	var lost spans
	add := func(s *segment, h span) {
		if h.first = max(h.first, from); h.first <= h.last {
			lost = lost.add(h)
			s.note(h)
		}
	}
	found = after(found, from-1)
	next := from // after the last segment
	for i, s := range found {
		s.mu.Lock()
		holes, last := slices.Clone(s.holes), s.last
		s.mu.Unlock()
		for _, h := range holes {
			add(s, h)
		}
		next = last + 1
		if i+1 < len(found) {
			add(s, span{next, found[i+1].first - 1})
		}
	}
	if h := (span{next, before - 1}); h.first <= h.last {
		lost = lost.add(h)
	}
	if len(lost) == 0 {
		return false
	}
	l.opts.Logger.Error("the log has lost messages that were not yet synced"+whatToDo, "first", lost[0].first, "last", lost[len(lost)-1].last, "messages", lost.count())
	return true
}

// unfinished reports whether a segment has anything after its last frame, or something that cannot be
// read.
func (s *segment) unfinished(end int64) (bool, error) {
	f, err := s.acquire()
	if err != nil {
		return false, err
	}
	defer s.release()
	size, err := f.size()
	if err != nil {
		return true, nil
	}
	b := make([]byte, mostRead)
	for off := end; off < size; off += int64(len(b)) {
		n, err := f.ReadAt(b[:min(int64(len(b)), size-off)], off)
		for part := b[:n]; len(part) > 0; part = part[min(len(part), pageBytes):] {
			if !allZero(part[:min(len(part), pageBytes)]) {
				return true, nil
			}
		}
		if err != nil {
			return true, nil
		}
	}
	return false, nil
}
