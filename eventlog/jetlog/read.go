package jetlog

import (
	"context"
	"errors"
	"math"
	"slices"
	"sort"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// Read either goes through all records in order, or searches for the next selected
// record. Going through costs little for each record. A search costs more for each record
// that it finds, and nothing for those between. Read begins by going through. It searches
// while fewer than one in sparse of the records is selected.
const (
	scanFirst = 32
	scanMost  = 1024
	sparse    = 16
)

// A reading is one Read under way.
type reading struct {
	src   source
	holes *holes
	names naming
	sel   *selection
	q     eventlog.Query
	batch eventlog.Batch

	limit uint64 // how far the batch can reach
	pos   uint64 // how far it has reached
	bytes int

	// searched is set after a search, and proven is where the search began. A search
	// passes in silence over records that retention has removed.
	searched bool
	proven   uint64
}

func read(ctx context.Context, src source, known *holes, names naming, q eventlog.Query) (eventlog.Batch, error) {
	if q.UpTo <= q.After {
		return eventlog.Batch{Through: q.After}, nil
	}
	r := &reading{src: src, holes: known, names: names, sel: names.selection(q.Filters), q: q, limit: q.UpTo, pos: q.After}
	if end, ok := known.at(q.After + 1); ok {
		r.lost(end, false)
	}
	if begin, ok := known.after(r.pos); ok {
		r.limit = min(r.limit, begin-1)
	}
	err := r.run(ctx)
	if err == nil {
		err = r.check(ctx)
	}
	r.batch.Through = r.pos
	return r.batch, err
}

// lost notes that the records after pos are missing, up to and including through.
func (r *reading) lost(through uint64, expired bool) {
	r.pos = min(through, r.limit)
	r.batch.Lost, r.batch.Expired = r.pos, expired
}

func (r *reading) full() bool {
	return r.pos >= r.limit || len(r.batch.Records) >= r.q.MaxRecords || r.bytes >= r.q.MaxBytes
}

// take takes the next record.
func (r *reading) take(rec eventlog.Record) (selected bool) {
	r.pos = rec.Seq
	if !r.sel.match(rec.Topic) {
		return false
	}
	r.batch.Records = append(r.batch.Records, rec)
	r.bytes += len(rec.Data)
	return true
}

func (r *reading) run(ctx context.Context) error {
	for chunk := scanFirst; !r.full(); chunk = min(2*chunk, scanMost) {
		selected, seen, err := r.scan(ctx, chunk)
		if err != nil || seen < 0 {
			return err
		}
		for seen == 0 || selected*sparse < seen {
			if r.full() {
				return nil
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			before := r.pos
			if err := r.search(ctx); err != nil {
				return err
			}
			if r.pos-before < sparse {
				break
			}
			seen = 0
			chunk = scanFirst
		}
	}
	return nil
}

// scan goes through some records. It returns how many records it has seen, and how many
// of them are selected. seen is negative if the batch has to end.
func (r *reading) scan(ctx context.Context, chunk int) (selected, seen int, err error) {
	n := chunk
	if r.sel.all {
		n = min(n, r.q.MaxRecords-len(r.batch.Records))
	}
	if left := r.limit - r.pos; left < uint64(n) {
		n = int(left)
	}
	records, err := r.src.scan(ctx, r.pos+1, n, max(r.q.MaxBytes-r.bytes, 1))
	if err != nil {
		return 0, 0, err
	}
	for _, rec := range records {
		if rec.Seq != r.pos+1 {
			if ok, err := r.gap(ctx, rec.Seq); !ok || err != nil {
				return 0, -1, err
			}
		}
		if rec.Seq > r.limit {
			break
		}
		seen++
		if r.take(rec) {
			selected++
		}
		if r.full() {
			break
		}
	}
	return selected, seen, nil
}

// gap finds out why the record after pos is missing, where the next record seen has the
// number next. It reports whether the batch can go on with that record. At the beginning
// of the batch, gap notes the records between as lost. Later the batch ends, and the next
// one begins there.
func (r *reading) gap(ctx context.Context, next uint64) (bool, error) {
	begins := r.pos == r.q.After
	expired := func() (bool, error) {
		st, err := r.src.state(ctx)
		if err != nil || st.First <= r.pos+1 {
			return false, err
		}
		if begins {
			r.lost(st.First-1, true)
		}
		return true, nil
	}
	if gone, err := expired(); gone || err != nil {
		return begins && r.pos+1 == next, err
	}
	// A replica's retention may be ahead of the leader's, which is asked here.
	rec, err := r.src.next(ctx, r.names.everything(), r.pos+1)
	switch {
	case errors.Is(err, eventlog.ErrNotFound):
		return false, nil // retention has removed everything meanwhile
	case err != nil:
		return false, err
	case rec.Seq == r.pos+1:
		r.take(rec)
		return r.pos+1 == next, nil
	}
	// Retention may have removed the record during the request.
	if gone, err := expired(); gone || err != nil {
		return begins && r.pos+1 == next, err
	}
	through := min(rec.Seq, next) - 1
	r.holes.add(r.pos+1, through)
	if begins {
		r.lost(through, false)
	}
	return begins && r.pos+1 == next, nil
}

// search takes the next selected record, or reaches the limit.
func (r *reading) search(ctx context.Context) error {
	if !r.searched {
		r.searched, r.proven = true, r.pos
	}
	rec, err := r.src.next(ctx, r.sel, r.pos+1)
	switch {
	case errors.Is(err, eventlog.ErrNotFound), err == nil && rec.Seq > r.limit:
		r.pos = r.limit
		return nil
	case err != nil:
		return err
	}
	r.take(rec)
	return nil
}

// check takes back the findings of a search that may have passed over records that
// retention had removed.
func (r *reading) check(ctx context.Context) error {
	if !r.searched {
		return nil
	}
	st, err := r.src.state(ctx)
	if err != nil || st.First <= r.proven+1 {
		return err
	}
	if r.proven > r.q.After {
		// The next batch begins where the search did, and reports the loss.
		r.pos = r.proven
		r.batch.Records = slices.DeleteFunc(r.batch.Records, func(rec eventlog.Record) bool { return rec.Seq > r.pos })
		return nil
	}
	reached := r.pos
	r.lost(st.First-1, true)
	r.batch.Records = slices.DeleteFunc(r.batch.Records, func(rec eventlog.Record) bool { return rec.Seq <= r.pos })
	r.pos = max(r.pos, reached)
	return nil
}

// back is [eventlog.Log]'s Back.
func back(ctx context.Context, src source, known *holes, names naming, filters []topics.Filter, n int, upTo uint64) (uint64, error) {
	st, err := src.state(ctx)
	if err != nil {
		return 0, err
	}
	found := 0
	// It reads backwards in ever larger windows.
	for width := uint64(max(64, 2*min(n, math.MaxInt32))); upTo >= st.First && upTo > 0; width *= 2 {
		from := st.First - 1
		if upTo-from > width {
			from = upTo - width
		}
		var seqs []uint64
		for after := from; after < upTo; {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			b, err := read(ctx, src, known, names, eventlog.Query{
				Filters: filters, After: after, UpTo: upTo, MaxRecords: scanMost, MaxBytes: 4 << 20,
			})
			if err != nil {
				return 0, err
			}
			for _, r := range b.Records {
				seqs = append(seqs, r.Seq)
			}
			after = b.Through
		}
		if found += len(seqs); found >= n {
			return seqs[found-n] - 1, nil
		}
		upTo = from
	}
	return 0, nil
}

// at is [eventlog.Log]'s At.
func at(ctx context.Context, src source, names naming, t time.Time) (uint64, error) {
	st, err := src.state(ctx)
	if err != nil {
		return 0, err
	}
	all := names.everything()
	// The record at mid may be missing, so each step asks for the first from there on.
	low, high := st.First, st.Last+1
	for low < high {
		mid := low + (high-low)/2
		rec, err := src.next(ctx, all, mid)
		switch {
		case errors.Is(err, eventlog.ErrNotFound), err == nil && !rec.Time.Before(t):
			high = mid
		case err != nil:
			return 0, err
		default:
			low = rec.Seq + 1
		}
	}
	rec, err := src.next(ctx, all, low)
	if errors.Is(err, eventlog.ErrNotFound) {
		return st.Last + 1, nil
	}
	return rec.Seq, err
}

// listTopics is [eventlog.Log]'s Topics.
func listTopics(ctx context.Context, c *core, filter topics.Filter, after string, limit int) ([]eventlog.TopicInfo, error) {
	counts, err := c.src.topics(ctx, filter)
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range counts {
		if name > after {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	var infos []eventlog.TopicInfo
	for _, name := range names[:min(limit, len(names))] {
		rec, err := c.src.last(ctx, name)
		if errors.Is(err, eventlog.ErrNotFound) {
			continue // retention has just removed it
		}
		if err != nil {
			return nil, err
		}
		infos = append(infos, eventlog.TopicInfo{Topic: name, Count: counts[name], Last: c.epochs.Position(rec.Seq), Time: rec.Time})
	}
	return infos, nil
}

// count counts by reading.
func count(ctx context.Context, src source, known *holes, names naming, filters []topics.Filter, after uint64) (n, through uint64, err error) {
	st, err := src.state(ctx)
	for through = after; err == nil && through < st.Last; {
		var b eventlog.Batch
		b, err = read(ctx, src, known, names, eventlog.Query{
			Filters: filters, After: through, UpTo: st.Last, MaxRecords: scanMost, MaxBytes: 4 << 20,
		})
		n += uint64(len(b.Records))
		through = b.Through
	}
	return n, through, err
}
