package natslog

import (
	"context"
	"errors"
	"slices"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/sse"
)

// Read implements [eventlog.Log]. A Log knows from its start which records the stream lacks.
// It finds those that are lost or removed elsewhere later when a reader goes through all
// records. If retention is about to overtake a reader, Read may say so one batch too early.
func (l *Log) Read(ctx context.Context, q eventlog.Query) (b eventlog.Batch, err error) {
	defer l.ended(&err)
	if err := l.enter(ctx); err != nil {
		return eventlog.Batch{}, err
	}
	for deadline := time.Now().Add(requestTimeout); ; {
		g := l.now.Load()
		if b, err = l.readSure(ctx, g, q); err == nil {
			if other := g.known.addAll(b.Records); other != nil {
				l.disagree(g, other)
				err = eventlog.ErrReopened
			}
		}
		if !errors.Is(err, errBehind) {
			break
		}
		if err := l.pause(ctx, deadline); err != nil {
			return eventlog.Batch{}, err
		}
	}
	if q.Generation != 0 && q.Generation != l.now.Load().number {
		err = eventlog.ErrReopened // checked last: requests of an old generation succeed, too
	}
	if err != nil {
		return eventlog.Batch{}, err
	}
	return b, nil
}

// readSure is read, and compares what replicas have answered with what is known, and with the leader's
// records. Each answer may be of another replica. If one differs, it asks the leader for each record.
func (l *Log) readSure(ctx context.Context, g *generation, q eventlog.Query) (eventlog.Batch, error) {
	if q.UpTo <= q.After {
		return l.read(ctx, g, q)
	}
	r := l.reading(g, q)
	b, err := r.result(ctx)
	same := g.known.agrees(b.Records)
	for _, end := range r.ends {
		if err == nil && same && !g.known.has(end) {
			same, err = l.sameAsLeader(ctx, g, end)
		}
	}
	if err != nil || same {
		return b, err
	}
	q.MaxRecords = min(q.MaxRecords, scanFirst) // each takes a request
	r = l.reading(g, q)
	r.leader = true
	return r.result(ctx)
}

// sameAsLeader reports whether the leader has a record that a replica has sent, the last one of an
// answer. After a loss of power the replicas of a stream can differ, and NATS may not repair that: from
// some number on, one has other records.
func (l *Log) sameAsLeader(ctx context.Context, g *generation, last eventlog.Record) (bool, error) {
	if g.copies.Load() < 2 {
		return true, nil
	}
	switch is, err := l.stands(ctx, identityOf(last)); {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil: // the leader has died
		return false, errBehind
	case err != nil:
		return false, failed(ctx, err)
	case is == another:
		if text := "a replica of the stream differs from the leader; remove it, and NATS makes another one"; l.warnings.due(text) {
			l.opts.Logger.Error(text, "stream", l.opts.Stream, "number", last.Seq)
		}
		return false, nil
	case is == beyond:
		return false, errBehind
	}
	return true, nil
}

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
	log   *Log
	holes *holes
	sel   *selection
	q     eventlog.Query
	batch eventlog.Batch

	leader bool              // only the leader is asked
	ends   []eventlog.Record // the last one that was used of each replica's answer
	limit  uint64            // how far the batch can reach
	pos    uint64            // how far it has reached
	bytes  int

	// searched is set after a search, and proven is where the search began. A search
	// passes in silence over records that retention has removed.
	searched bool
	proven   uint64

	// unseen is set if a leader has no selected record up to the limit. It may not have come
	// as far itself.
	unseen bool
}

func (l *Log) read(ctx context.Context, g *generation, q eventlog.Query) (eventlog.Batch, error) {
	if q.UpTo <= q.After {
		return eventlog.Batch{Through: q.After}, nil
	}
	return l.reading(g, q).result(ctx)
}

func (l *Log) reading(g *generation, q eventlog.Query) *reading {
	r := &reading{log: l, holes: &g.holes, sel: l.names.selection(q.Filters), q: q, limit: q.UpTo, pos: q.After}
	if end, reason, ok := r.holes.at(q.After + 1); ok {
		r.skip(end, reason)
	}
	if begin, ok := r.holes.after(r.pos); ok {
		r.limit = min(r.limit, begin-1)
	}
	return r
}

func (r *reading) result(ctx context.Context) (eventlog.Batch, error) {
	err := r.run(ctx)
	if err == nil {
		err = r.check(ctx)
	}
	r.batch.Through = r.pos
	return r.batch, err
}

// skip notes that the records after pos are missing, up to and including through.
func (r *reading) skip(through uint64, reason string) {
	r.pos = min(through, r.limit)
	r.batch.Hole, r.batch.Reason = r.pos, reason
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
	for r.leader && !r.full() {
		if err := r.search(ctx); err != nil {
			return err
		}
	}
	for chunk := scanFirst; !r.full(); chunk = min(2*chunk, scanMost) {
		selected, seen, err := r.scan(ctx, chunk)
		if err != nil || seen < 0 {
			return err
		}
		for seen == 0 || selected*sparse < seen {
			if r.full() {
				return nil
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
	records, _, err := r.log.batch(ctx, getRequest{Seq: r.pos + 1, Batch: n, MaxBytes: max(r.q.MaxBytes-r.bytes, 1)})
	if err != nil {
		return 0, 0, err
	}
	var last eventlog.Record
	defer func() {
		if last.Seq > 0 {
			r.ends = append(r.ends, last)
		}
	}()
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
		last = rec
		if r.take(rec) {
			selected++
		}
		if r.full() {
			break
		}
	}
	return selected, seen, nil
}

// gap handles that the record after pos is missing, where the next record seen has the
// number next. It reports whether the batch can go on with that record. At the beginning of
// the batch, gap notes the hole. Later the batch ends, and the next one begins there.
func (r *reading) gap(ctx context.Context, next uint64) (bool, error) {
	end, reason, err := r.hole(ctx, next)
	if end > 0 && r.pos == r.q.After {
		r.skip(end, reason)
	}
	return r.pos+1 == next, err
}

// hole finds out why the record after pos is missing, and up to where. If the record is there
// after all, hole takes it. end is 0 then, and if retention has removed everything meanwhile.
func (r *reading) hole(ctx context.Context, next uint64) (end uint64, reason string, err error) {
	if end, err := r.expired(ctx, r.pos); end > 0 || err != nil {
		return end, sse.GapExpired, err
	}
	// A replica's retention may be ahead of the leader's, which is asked here.
	rec, err := r.log.next(ctx, r.log.names.everything(), r.pos+1)
	switch {
	case errors.Is(err, eventlog.ErrNotFound):
		return 0, "", nil
	case err != nil:
		return 0, "", err
	case rec.Seq == r.pos+1:
		r.take(rec)
		return 0, "", nil
	}
	// Retention may have removed the record during the request.
	if end, err := r.expired(ctx, r.pos); end > 0 || err != nil {
		return end, sse.GapExpired, err
	}
	r.holes.add(r.pos+1, min(rec.Seq, next)-1)
	end, reason, _ = r.holes.at(r.pos + 1)
	return end, reason, nil
}

// expired returns the last number that retention has removed, if it is after pos, or else 0.
func (r *reading) expired(ctx context.Context, pos uint64) (uint64, error) {
	first, _, err := r.log.bounds(ctx)
	if err != nil || first <= pos+1 {
		return 0, err
	}
	return first - 1, nil
}

// search takes the next selected record, or reaches the limit.
func (r *reading) search(ctx context.Context) error {
	if !r.searched {
		r.searched, r.proven = true, r.pos
	}
	rec, err := r.log.next(ctx, r.sel, r.pos+1)
	switch {
	case errors.Is(err, eventlog.ErrNotFound):
		r.pos, r.unseen = r.limit, true
		return nil
	case err == nil && rec.Seq > r.limit:
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
	first, last, err := r.log.bounds(ctx)
	switch {
	case err != nil:
		return err
	case r.unseen && last < r.limit:
		return errBehind
	case first <= r.proven+1:
		return nil
	}
	end := first - 1
	if r.proven > r.q.After {
		// The next batch begins where the search did, and reports the loss.
		r.pos = r.proven
		r.batch.Records = slices.DeleteFunc(r.batch.Records, func(rec eventlog.Record) bool { return rec.Seq > r.pos })
		return nil
	}
	reached := r.pos
	r.skip(end, sse.GapExpired)
	r.batch.Records = slices.DeleteFunc(r.batch.Records, func(rec eventlog.Record) bool { return rec.Seq <= r.pos })
	r.pos = max(r.pos, reached)
	return nil
}
