package segmentlog

import (
	"context"
	"errors"
	"math"
	"sort"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// Read goes through the records in order while enough of them match. Where few match, it
// asks the index for the numbers of those that do.
const (
	readFirst = 64 // records that Read goes through first
	sparse    = 8  // it asks the index if fewer than one in sparse of them has matched

	// A call of Read looks at no more than so many records, or buckets of the index. Once
	// it has found something, it looks at fewer buckets.
	mostScanned = 64 << 10
	mostBuckets = 128
	moreBuckets = 8
)

// A reading is one Read under way.
type reading struct {
	log   *Log
	q     eventlog.Query
	every bool // some filter matches every topic
	batch eventlog.Batch
	pos   uint64 // how far the batch reaches
	upTo  uint64
	bytes int
	left  int // records that may yet be looked at

	// The segment at hand, and its cursor.
	list  []*segment
	index int
	seg   *segment
	cur   *cursor
}

// Read implements [eventlog.Log].
func (l *Log) Read(ctx context.Context, q eventlog.Query) (eventlog.Batch, error) {
	if err := l.open(); err != nil {
		return eventlog.Batch{}, err
	}
	if q.Generation > generation {
		return eventlog.Batch{}, eventlog.ErrReopened
	}
	for {
		r := &reading{log: l, q: q, every: matchesAll(q.Filters), pos: q.After, upTo: min(q.UpTo, l.lastSeq()), left: mostScanned, list: l.list()}
		err := r.run(ctx)
		r.leave()
		switch {
		case errors.Is(err, errGone) && l.closing.Err() == nil:
			continue // retention has overtaken the reading
		case err != nil:
			return eventlog.Batch{}, l.ended(err)
		}
		r.batch.Through = r.pos
		return r.batch, nil
	}
}

func matchesAll(filters []topics.Filter) bool {
	for _, f := range filters {
		if f.String() == "**" {
			return true
		}
	}
	return false
}

func (r *reading) run(ctx context.Context) error {
	if r.pos >= r.upTo {
		return nil
	}
	if first := r.log.first.Load(); r.pos+1 < first && !r.hole(first-1, sse.GapExpired) {
		return nil
	}
	for !r.full() {
		if err := ctx.Err(); err != nil {
			return err
		}
		upTo := r.upTo
		if !r.every {
			upTo = min(upTo, r.pos+readFirst)
		}
		before, found := r.pos, len(r.batch.Records)
		if done, err := r.scan(upTo); done || err != nil {
			return err
		}
		if r.full() || r.every || r.left <= 0 {
			return nil
		}
		if matched := len(r.batch.Records) - found; uint64(matched)*sparse < r.pos-before {
			return r.search(ctx)
		}
	}
	return nil
}

func (r *reading) full() bool {
	return r.pos >= r.upTo || len(r.batch.Records) >= r.q.MaxRecords || r.bytes >= r.q.MaxBytes
}

// hole notes that the records after pos, up to a number, are missing. It returns false if
// the batch has to end before the hole, because it does not begin there, or there for
// another reason.
func (r *reading) hole(through uint64, reason string) bool {
	b := &r.batch
	if r.pos != r.q.After && (b.Hole != r.pos || b.Reason != reason) {
		return false
	}
	r.pos = min(through, r.upTo)
	b.Hole, b.Reason = r.pos, reason
	return true
}

// take takes a record that the filters match. It returns false if the batch has to end.
func (r *reading) take(f *frame) bool {
	if f.removed() {
		if f.seq > r.pos+1 { // those between do not match
			r.pos = f.seq - 1
			return false
		}
		return r.hole(f.seq, sse.GapRemoved)
	}
	rec := f.record()
	r.batch.Records = append(r.batch.Records, rec)
	r.bytes += len(rec.Data)
	r.pos = f.seq
	return !r.full()
}

// scan goes through the records up to a number. It reports whether the batch has to end.
func (r *reading) scan(upTo uint64) (done bool, err error) {
	for r.pos < upTo {
		if err := r.enter(r.pos + 1); err != nil {
			return true, err
		}
		bound := r.bound()
		if r.cur != nil && r.cur.passed > r.pos {
			m, _ := r.seg.before(r.pos + 1)
			r.cur.seek(m.off)
		}
		for r.cur != nil && r.pos < min(bound, upTo) {
			f, ok := r.cur.next()
			if !ok || f.seq > bound {
				break
			}
			if f.seq <= r.pos {
				continue
			}
			if f.seq > r.pos+1 {
				if more, err := r.lost(min(f.seq-1, r.upTo)); !more || err != nil {
					return true, err
				}
				if r.seg == nil {
					break
				}
			}
			if f.seq > upTo {
				r.cur.seek(f.off)
				return false, nil
			}
			r.left--
			switch {
			case f.hidden() || !r.every && !topics.MatchAny(r.q.Filters, string(f.topicBytes())):
				r.pos = f.seq
			case !r.take(&f):
				return true, nil
			}
			if r.left <= 0 {
				return true, nil
			}
		}
		if r.seg != nil && r.pos < min(bound, upTo) {
			if more, err := r.lost(min(bound, r.upTo)); !more || err != nil {
				return true, err
			}
		}
	}
	return false, nil
}

// lost notes that the records after pos, up to a number, cannot be read. It returns false if
// the batch has to end. If that is not certain, it leaves the segment, so that the caller
// looks again.
func (r *reading) lost(through uint64) (more bool, err error) {
	if first := r.log.first.Load(); r.pos+1 < first {
		if !r.hole(min(first-1, through), sse.GapExpired) {
			return false, nil
		}
		if r.pos >= through {
			return true, nil
		}
	}
	h := span{r.pos + 1, through}
	if ok, err := r.log.certain(r.seg, h); !ok {
		r.leave()
		return true, err
	}
	if !r.hole(through, sse.GapLost) {
		return false, nil
	}
	r.log.noteLost(r.seg, h)
	return true, nil
}

// enter makes the segment that has a number, or would have it, the one at hand, and its
// cursor nil if it has no frames.
func (r *reading) enter(seq uint64) error {
	i := max(at(r.list, seq), 0)
	if r.seg != nil && r.index == i {
		return nil
	}
	r.leave()
	s := r.list[i]
	err := s.load()
	var f file
	if err == nil {
		f, err = s.acquire()
	}
	switch {
	case errors.Is(err, errUnreadable): // its numbers are lost
		r.seg, r.index = s, i
		return nil
	case err != nil:
		return err
	}
	_, end := s.extent()
	r.seg, r.index = s, i
	m, _ := s.before(seq)
	r.cur = newCursor(f, s.salt, m.off, end, s.waitErased)
	return nil
}

// leave gives the segment at hand back.
func (r *reading) leave() {
	if r.cur != nil {
		r.cur.close()
		r.seg.release()
	}
	r.seg, r.cur = nil, nil
}

// bound returns the last number that the segment at hand may have.
func (r *reading) bound() uint64 {
	if r.index+1 < len(r.list) {
		return r.list[r.index+1].first - 1
	}
	return math.MaxUint64
}

// search asks the index for the records that match, and takes them.
func (r *reading) search(ctx context.Context) error {
	var intact uint64 // there is no known hole up to here
	for n := range mostBuckets {
		if r.full() || ctx.Err() != nil || n >= moreBuckets && len(r.batch.Records) > 0 {
			return ctx.Err()
		}
		if intact <= r.pos {
			var err error
			if intact, err = r.log.intactUpTo(r.pos, r.upTo); err != nil {
				return err
			}
		}
		if intact <= r.pos {
			// The next number is in a hole.
			if done, err := r.scan(r.pos + 1); done || err != nil {
				return err
			}
			continue
		}
		limit := min(intact, bucketEnd(r.pos+1))
		seqs, ok := r.log.index.find(ctx, r.q.Filters, r.pos+1, limit)
		if first := r.log.first.Load(); r.pos+1 < first {
			// The index may have forgotten what has expired meanwhile.
			r.hole(first-1, sse.GapExpired)
			return nil
		}
		if !ok {
			if done, err := r.scan(limit); done || err != nil || r.left <= 0 {
				return err
			}
			continue
		}
		for _, seq := range seqs {
			if done, err := r.pick(seq); done || err != nil {
				return err
			}
		}
		r.pos = max(r.pos, limit)
	}
	return nil
}

// pick takes the record with a number. It reports whether the batch has to end.
func (r *reading) pick(seq uint64) (done bool, err error) {
	if err := r.enter(seq); err != nil {
		return true, err
	}
	if r.cur == nil {
		return r.lostAt(seq)
	}
	if m, _ := r.seg.before(seq); m.off > r.cur.off || r.cur.passed >= seq {
		r.cur.seek(m.off)
	}
	for {
		f, ok := r.cur.next()
		switch {
		case !ok || f.seq > seq:
			if ok {
				r.cur.seek(f.off)
			}
			return r.lostAt(seq)
		case f.seq < seq:
			continue
		case f.hidden() || !topics.MatchAny(r.q.Filters, string(f.topicBytes())):
			return false, nil // the index is wrong
		}
		return !r.take(&f), nil
	}
}

// lostAt notes that a record which the index knows cannot be read. It reports whether the
// batch has to end.
func (r *reading) lostAt(seq uint64) (done bool, err error) {
	if first := r.log.first.Load(); seq < first {
		return !r.hole(first-1, sse.GapExpired), nil
	}
	h := span{seq, seq}
	if ok, err := r.log.certain(r.seg, h); !ok {
		r.leave()
		if err != nil {
			return true, err
		}
		return r.pick(seq)
	}
	r.log.noteLost(r.seg, h)
	if r.pos+1 != seq { // those between do not match
		r.pos = seq - 1
		return true, nil
	}
	return !r.hole(seq, sse.GapLost), nil
}

// holeAfter returns the first known hole with a number that is greater than one and not
// greater than upTo. Without one, it returns a hole from upTo + 1 on.
func (l *Log) holeAfter(after, upTo uint64) span {
	list := l.list()
	if first := list[0].first; after+1 < first && after < upTo {
		return span{after + 1, min(first-1, upTo)} // the first segments are missing
	}
	for i := max(at(list, after+1), 0); i < len(list) && list[i].first <= upTo; i++ {
		h, ok := list[i].hole(after)
		if last, _ := list[i].extent(); i+1 < len(list) && last+1 < list[i+1].first && (!ok || h.first > last) {
			h, ok = span{last + 1, list[i+1].first - 1}, true // its end is missing, whatever readers have noted of it
		}
		if ok && h.last > after {
			if h.first > upTo {
				break
			}
			return span{max(h.first, after+1), min(h.last, upTo)}
		}
	}
	return span{upTo + 1, upTo + 1}
}

// intactUpTo returns the last number before the next known hole after a number, and at most
// upTo.
func (l *Log) intactUpTo(after, upTo uint64) (uint64, error) {
	list := l.list()
	for i := max(at(list, after+1), 0); i < len(list) && list[i].first <= upTo; i++ {
		if err := list[i].load(); err != nil && !errors.Is(err, errUnreadable) {
			return 0, err
		}
	}
	return l.holeAfter(after, upTo).first - 1, nil
}

// firstSince returns the number of the first record from a number on that has a time or a
// later one, or one more than the last. after is one more than the number of the last record
// before that, or from if there is none: the records between are lost.
func (l *Log) firstSince(nanos int64, from, last uint64) (seq, after uint64, err error) {
	list := l.list()
	low := max(at(list, from), 0)
	var failed error
	begins := func(i int) int64 { // the time of the first frame from a segment on
		for ; i < len(list); i++ {
			if err := list[i].load(); err != nil && !errors.Is(err, errUnreadable) {
				failed = err
				return math.MaxInt64
			}
			if m, ok := list[i].before(0); ok {
				return m.nanos
			}
		}
		return math.MaxInt64
	}
	i := low + sort.Search(len(list)-low, func(i int) bool { return begins(low+i) >= nanos })
	if failed != nil {
		return 0, 0, failed
	}
	after = from
	for i = max(i-1, low); i < len(list); i++ {
		seq, before, ok, err := list[i].since(nanos, from)
		after = min(max(after, before+1), last+1)
		if errors.Is(err, errUnreadable) {
			return min(max(from, list[i].first), last+1), after, nil // it may have such a record
		}
		if ok || err != nil {
			return min(seq, last+1), after, err
		}
	}
	return max(from, last+1), after, nil
}

// since returns the number of the first frame from a number on that has a time or a later
// one, and the number of a frame before that one: of the last one, if any was looked at.
func (s *segment) since(nanos int64, from uint64) (seq, before uint64, ok bool, err error) {
	if err := s.load(); err != nil {
		return 0, 0, false, err
	}
	s.mu.Lock()
	i := sort.Search(len(s.marks), func(i int) bool { return s.marks[i].nanos >= nanos })
	var off int64
	if i > 0 {
		off, before = s.marks[i-1].off, s.marks[i-1].seq
	}
	end := s.end
	s.mu.Unlock()
	if m, ok := s.before(from); ok {
		off = max(off, m.off)
	}
	f, err := s.acquire()
	if err != nil {
		return 0, 0, false, err
	}
	defer s.release()
	c := newCursor(f, s.salt, off, end, s.waitErased)
	defer c.close()
	for fr, ok := c.next(); ok; fr, ok = c.next() {
		if fr.seq >= from && fr.nanos >= nanos {
			return fr.seq, before, true, nil
		}
		before = max(before, fr.seq)
	}
	return 0, before, false, nil
}

// At implements [eventlog.Log]. A time that is read from the wall clock while the log's time
// is behind it is set back by as much: see [logclock.Clock.Since].
func (l *Log) At(_ context.Context, t time.Time) (uint64, error) {
	for {
		if err := l.open(); err != nil {
			return 0, err
		}
		seq, _, err := l.firstSince(nanosOf(l.clock.Since(t)), l.first.Load(), l.lastSeq())
		if errors.Is(err, errGone) && l.closing.Err() == nil {
			continue
		}
		return seq, l.ended(err)
	}
}
