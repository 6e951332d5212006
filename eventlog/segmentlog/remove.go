package segmentlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// removeAtOnce is how many records are removed before the disk is synced.
const removeAtOnce = 1024

// Remove implements [eventlog.Log]. It overwrites the records in their segments, and returns
// when that is on the disk. Copies of a segment by hard link have the same bytes. What is left
// of lost records is overwritten, too, if seqs has all numbers that are lost there. They count
// for nothing, and stay lost.
func (l *Log) Remove(ctx context.Context, seqs []uint64) (n int, err error) {
	seqs = slices.Clone(seqs)
	slices.Sort(seqs)
	seqs = slices.Compact(seqs)
	maybe := false
	for part := range slices.Chunk(seqs, removeAtOnce) {
		if err := cmp.Or(l.open(), ctx.Err(), l.Err()); err != nil {
			return n, err
		}
		removed, absent, err := l.removeSome(part)
		n += removed
		maybe = maybe || absent
		if err != nil {
			return n, l.ended(err)
		}
	}
	if maybe {
		if err := l.eraseLost(seqs); err != nil {
			return n, l.ended(err)
		}
	}
	return n, l.open()
}

// removeSome removes some records, and returns how many of them are gone from the disk. absent
// says that some have no record.
func (l *Log) removeSome(seqs []uint64) (durable int, absent bool, err error) {
	if err := l.index.beginRemoval(); err != nil {
		return 0, false, l.broken(err)
	}
	settled := false
	defer func() { l.index.endRemoval(settled) }()
	first, last := l.first.Load(), l.lastSeq()
	var removed []removedRecord
	var failed error
	for len(seqs) > 0 && failed == nil {
		if seqs[0] < first || seqs[0] > last {
			seqs = seqs[1:]
			continue
		}
		// Those in one segment.
		list := l.list()
		i := max(at(list, seqs[0]), 0)
		here := len(seqs)
		if i+1 < len(list) {
			here, _ = slices.BinarySearch(seqs, list[i+1].first)
		}
		erased, lost, err := list[i].erase(seqs[:here])
		switch {
		case errors.Is(err, errOverwrite):
			failed = l.broken(err)
		case err != nil && !errors.Is(err, errGone) && !errors.Is(err, fs.ErrNotExist):
			failed = err
		}
		for _, seq := range lost {
			certain, err := l.certain(list[i], span{seq, seq})
			if certain {
				l.noteLost(list[i], span{seq, seq}) // maybe nobody has met it
			}
			failed = cmp.Or(failed, err)
		}
		absent = absent || len(lost) > 0
		removed = append(removed, erased...)
		if !errors.Is(err, errNotSynced) {
			durable = len(removed)
		}
		seqs = seqs[here:]
	}
	if len(removed) == 0 {
		settled = failed == nil
		return 0, absent, failed
	}
	gone := make(map[uint64]bool, len(removed))
	for _, r := range removed {
		gone[r.seq] = true
	}
	l.mu.Lock()
	l.recent.remove(gone)
	l.mu.Unlock()
	// The index follows, unless it ends: then the next start reads the segments. So it does if
	// the disk did not take all: nobody knows what it did take.
	r := &removal{records: removed, done: make(chan struct{})}
	select {
	case l.index.removals <- r:
		<-r.done
		settled = failed == nil
	case <-l.index.done:
	}
	return durable, absent, failed
}

// erase erases frames with ascending numbers, and returns their records when that is on the
// disk. With an error it returns those that are erased, maybe not on the disk. It passes
// over those that were erased before. It returns the numbers that have no frame.
func (s *segment) erase(seqs []uint64) (erased []removedRecord, absent []uint64, err error) {
	if err := s.load(); err != nil {
		return nil, nil, err
	}
	f, err := s.acquire()
	if err != nil {
		return nil, nil, err
	}
	defer s.release()
	_, end := s.extent()
	c := newCursor(f, s.salt, 0, end, s.waitErased)
	defer c.close()
	var failed error
	for _, seq := range seqs {
		if m, ok := s.before(seq); ok && (m.off > c.off || c.passed >= seq) {
			c.seek(m.off)
		}
		fr, ok := c.next()
		for ; ok && fr.seq < seq; fr, ok = c.next() {
		}
		if !ok || fr.seq > seq {
			absent = append(absent, seq)
			if ok {
				c.seek(fr.off)
			}
			continue
		}
		if fr.removed() || fr.hidden() {
			continue
		}
		m := fr.message()
		raw := slices.Clone(fr.raw)
		erase(raw, s.salt)
		s.erasing.Lock()
		_, err := f.WriteAt(raw, fr.off)
		s.erasing.Unlock()
		if err != nil {
			failed = fmt.Errorf("%w: %w", errOverwrite, err)
			break
		}
		erased = append(erased, removedRecord{seq: seq, topic: m.Topic, key: m.Key})
	}
	if len(erased) == 0 {
		return nil, absent, failed
	}
	if err := f.sync(); err != nil { // also if not all were erased: the next call passes over these
		return erased, absent, fmt.Errorf("%w: %w: %w", errOverwrite, errNotSynced, err)
	}
	return erased, absent, failed
}

// eraseLost overwrites what is left of lost records, if the ascending numbers have all of a
// hole: nobody knows which bytes of it were whose.
func (l *Log) eraseLost(seqs []uint64) error {
	list := l.list()
	for i, s := range list {
		if err := s.load(); errors.Is(err, errUnreadable) {
			continue
		} else if err != nil {
			return err
		}
		for _, h := range l.holesOf(list, i) {
			k, _ := slices.BinarySearch(seqs, h.first)
			if n := h.last - h.first; n >= uint64(len(seqs)-k) || seqs[k+int(n)] != h.last {
				continue
			}
			err := s.clear(h, i+1 == len(list))
			if err != nil && !errors.Is(err, errGone) && !errors.Is(err, errUnreadable) {
				return l.broken(err)
			}
		}
	}
	return nil
}

// clear overwrites the place of a hole with zeros. growing says that the segment gets frames.
func (s *segment) clear(h span, growing bool) error {
	f, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	_, end := s.extent()
	if !growing {
		if end, err = f.size(); err != nil {
			return err
		}
	}
	from, to := int64(0), end
	if m, ok := s.before(h.first - 1); ok && m.seq < h.first {
		from = m.off
	}
	c := newCursor(f, s.salt, from, end, s.waitErased)
	defer c.close()
	before, after := s.first-1, h.last+1
	for fr, ok := c.next(); ok; fr, ok = c.next() {
		if fr.seq >= h.first {
			to, after = fr.off, fr.seq
			break
		}
		from, before = fr.off+int64(len(fr.raw)), fr.seq
	}
	if last, _ := s.extent(); before != max(h.first, s.first)-1 || after != h.last+1 || to == end && last > h.last || c.errs > 0 {
		return errUnreadable // another record beside the hole cannot be read just now
	}
	for ; from < to; from += pageBytes {
		if _, err := f.WriteAt(zeros[:min(pageBytes, to-from)], from); err != nil {
			return fmt.Errorf("%w: %w", errOverwrite, err)
		}
	}
	if err := f.sync(); err != nil {
		return fmt.Errorf("%w: %w", errOverwrite, err)
	}
	return nil
}

// errOverwrite means that the disk did not take what erases a record.
var errOverwrite = errors.New("a record cannot be erased")

// errNotSynced means that the disk took it, but maybe does not have it.
var errNotSynced = errors.New("the disk does not confirm it")

// RemoveTopic implements [eventlog.Log].
func (l *Log) RemoveTopic(ctx context.Context, topic string, upTo uint64) (n int, err error) {
	filter, err := topics.ParseFilters(topic)
	if err != nil || !filter[0].Exact() {
		return 0, l.open() // no record has that topic
	}
	upTo = min(upTo, l.lastSeq())
	for after := uint64(0); after < upTo; {
		b, err := l.Read(ctx, eventlog.Query{Filters: filter, After: after, UpTo: upTo, MaxRecords: removeAtOnce, MaxBytes: 16 << 20})
		if err != nil {
			return n, err
		}
		seqs := make([]uint64, len(b.Records))
		for i := range b.Records {
			seqs[i] = b.Records[i].Seq
		}
		removed, err := l.Remove(ctx, seqs)
		n += removed
		if err != nil {
			return n, err
		}
		after = b.Through
	}
	return n, cmp.Or(l.open(), ctx.Err())
}

// removing says in the log's state, while it may be so, that the index on the disk has records
// that were removed from the segments. A start then makes the index again.
type removing struct {
	mu       sync.Mutex
	underway int
	marked   bool // the state says so
	untold   bool // the index does not know of a removal
}

// beginRemoval notes that records are about to be erased.
func (x *index) beginRemoval() error {
	r := &x.removing
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := x.mark(); err != nil {
		return err
	}
	r.underway++
	return nil
}

// markStale has the next start make the index again.
func (x *index) markStale() error {
	x.removing.mu.Lock()
	defer x.removing.mu.Unlock()
	return x.mark()
}

// mark is markStale for callers that hold the lock.
func (x *index) mark() error {
	r := &x.removing
	if r.marked {
		return nil
	}
	err := x.log.state.update(func(st *state) { st.flags |= stateStale })
	err = cmp.Or(err, x.log.state.sync())
	r.marked = err == nil
	return err
}

// endRemoval notes that a removal is over. told says that the index knows of it.
func (x *index) endRemoval(told bool) {
	r := &x.removing
	r.mu.Lock()
	defer r.mu.Unlock()
	r.underway--
	r.untold = r.untold || !told
}

// settleRemovals brings the removals that the index knows of to the disk. The goroutine of
// the index calls it.
func (x *index) settleRemovals() {
	r := &x.removing
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.marked || r.underway > 0 || r.untold || x.holed || x.store == nil || !x.usable() {
		return
	}
	// If it fails, the store is made again.
	if x.store.use(x.store.flush) != nil {
		return
	}
	if err := x.log.state.update(func(st *state) { st.flags &^= stateStale }); err != nil {
		_ = x.log.broken(err) // without room, it is tried again
		return
	}
	r.marked = false
}
