package segmentlog

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/tidings/eventlog"
)

// verifyRate is how many bytes a second the verification reads: enough for a gigabyte in
// half a minute, and few enough that neither the disk nor a processor is busy with it.
const verifyRate = 32_000_000

// A verification reads all segments of earlier processes once, the newest first: most
// subscribers are there. Its rate is bounded. It finds damage that no reader has met yet.
type verification struct {
	log      *Log
	segments []*segment
	rate     int64 // bytes a second
	due      time.Time
}

// run verifies all segments, unless the log is closed before.
func (v *verification) run() {
	for _, s := range slices.Backward(v.segments) {
		for v.log.closing.Err() == nil {
			err := v.verify(s)
			if err == nil || errors.Is(err, errGone) || errors.Is(err, eventlog.ErrClosed) {
				break
			}
			v.log.opts.Logger.Warn("a segment of the log cannot be verified; the log tries again", "file", s.path, "error", err)
			v.log.wait(time.Minute)
		}
	}
}

// verify reads a segment, and notes its holes. It holds no lock while it reads.
func (v *verification) verify(s *segment) error {
	known, err := v.scan(s)
	if err != nil && !errors.Is(err, errUnreadable) {
		return err
	}
	list := v.log.list()
	i := slices.Index(list, s)
	if i < 0 {
		return errGone
	}
	if err != nil && i+1 < len(list) { // nothing of it can be read
		v.log.noteLost(s, span{s.first, list[i+1].first - 1})
	}
	for _, h := range v.log.holesOf(list, i) {
		v.log.noteLost(s, h)
	}
	s.mu.Lock()
	same := slices.Equal(s.holes, known)
	s.verified = s.end
	s.mu.Unlock()
	if same || i+1 == len(list) {
		return nil
	}
	return s.saveSidecar()
}

// scan reads a segment, corrects its table, and returns the holes that were known before.
func (v *verification) scan(s *segment) (known spans, err error) {
	f, err := s.acquire()
	if err != nil {
		return nil, err
	}
	defer s.release()
	size, err := f.size()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	s.loadKept(size) // what was logged before
	s.mu.Lock()
	known = slices.Clone(s.holes)
	s.mu.Unlock()
	t := s.scan(&paced{v, s, f}, size)
	if err := v.log.open(); err != nil {
		return nil, err // it did not read everything
	}
	v.log.correct(s, t, known)
	return known, nil
}

// paced reads the file of a segment no faster than the verification may.
type paced struct {
	v *verification
	s *segment
	f file
}

func (p *paced) ReadAt(b []byte, off int64) (int, error) {
	v := p.v
	if err := v.log.closing.Err(); err != nil {
		return 0, err
	}
	n, err := p.f.ReadAt(b, off)
	p.s.mu.Lock()
	p.s.verified = max(p.s.verified, off+int64(n)-1) // all of it once its holes are noted
	p.s.mu.Unlock()
	now := time.Now()
	if v.due.Before(now) {
		v.due = now
	}
	v.due = v.due.Add(time.Duration(n) * time.Second / time.Duration(v.rate))
	v.log.wait(v.due.Sub(now))
	return n, err
}
