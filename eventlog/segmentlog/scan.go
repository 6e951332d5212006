package segmentlog

import (
	"context"
	"errors"
	"math"
)

// scan calls f for each intact frame from a number up to another. The frame is valid during
// the call.
func (l *Log) scan(ctx context.Context, from, upTo uint64, f func(*frame)) error {
	for from = max(from, 1); from <= upTo; {
		list := l.list()
		i := max(at(list, from), 0)
		bound := uint64(math.MaxUint64)
		if i+1 < len(list) {
			bound = list[i+1].first - 1
		}
		switch err := l.each(ctx, list[i], from, min(upTo, bound), f); {
		case errors.Is(err, errUnreadable):
			if last := min(upTo, bound, l.lastSeq()); from <= last {
				l.noteLost(list[i], span{from, last})
			}
		case err != nil && !errors.Is(err, errGone):
			return err
		}
		if bound == math.MaxUint64 {
			return nil
		}
		from = bound + 1
	}
	return nil
}

// each is [Log.scan] in a segment.
func (l *Log) each(ctx context.Context, s *segment, from, upTo uint64, f func(*frame)) error {
	if err := s.load(); err != nil {
		return err
	}
	m, ok := s.before(from)
	if !ok {
		return nil
	}
	file, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	last, end := s.extent()
	c := newCursor(file, s.salt, m.off, end, s.waitErased)
	defer c.close()
	next, last := max(from, s.first), min(last, upTo)
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		fr, ok := c.next()
		if ok && fr.seq < next {
			continue
		}
		lost := span{next, last}
		if ok && fr.seq <= last {
			lost.last = fr.seq - 1
		}
		if lost.first <= lost.last {
			switch certain, err := l.certain(s, lost); {
			case err != nil:
				return err
			case !certain:
				m, _ := s.before(next)
				c.seek(m.off)
				last, c.end = s.extent()
				last = min(last, upTo)
				continue
			}
			l.noteLost(s, lost)
		}
		if !ok || fr.seq > last {
			return nil
		}
		next = fr.seq + 1
		f(&fr)
	}
}
