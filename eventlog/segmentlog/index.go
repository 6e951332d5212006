package segmentlog

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/yield"
	"example.com/tidings/topics"
)

// An index finds records by their topic, and topics. The newest buckets are in memory, and
// the others in a store. One goroutine, run, writes the store.
type index struct {
	log  *Log
	keys *keys
	lane *yield.Lane // of long work

	mu      sync.RWMutex
	open    *bucket   // takes new records
	sealed  []*bucket // take no more, and are not in the store; ascending
	store   *store    // nil while there is none
	applied uint64    // buckets before this one are in the store
	whole   bool      // the store and the buckets in memory have everything

	// removed has the places of removed records of the buckets in the store.
	removed map[uint64][]uint16

	filters     map[uint64]topicFilter // of some buckets in the store
	filterBytes int

	wake     chan struct{} // has room for one
	removals chan *removal // for run
	removing removing
	topics   atomic.Int64  // how many the store has
	cost     atomic.Int64  // nanoseconds that writing a record to the store takes
	meta     storeMeta     // run's
	holed    bool          // run's: the store may lack records that could not be read
	repaired atomic.Bool   // lost records can be read again: the store lacks them
	stale    bool          // run's: what is on the disk cannot be used
	failures int           // run's: of stores
	retryAt  time.Time     // run's: when a store may be made again
	done     chan struct{} // closed when run has ended
}

// A removal is records that were removed from the segments.
type removal struct {
	records []removedRecord
	done    chan struct{}
}

type removedRecord struct {
	seq   uint64
	topic string
	key   string
}

// mostSealed is how many sealed buckets stay in memory while the store is made anew. The
// store gets the others from the segments.
const mostSealed = 6

func newIndex(l *Log, next uint64) *index {
	x := &index{
		log:      l,
		lane:     yield.Shared(),
		open:     newBucket(bucketOf(next), next),
		removed:  map[uint64][]uint16{},
		filters:  map[uint64]topicFilter{},
		wake:     make(chan struct{}, 1),
		removals: make(chan *removal),
		done:     make(chan struct{}),
	}
	x.keys = newKeys(x)
	return x
}

// add adds records that were written, and their keys. The writer calls it before readers
// know of the records.
func (x *index) add(records []eventlog.Record, added []keyed) {
	b := x.open
	b.mu.Lock()
	for i := range records {
		r := &records[i]
		if n := bucketOf(r.Seq); n != b.n {
			b.mu.Unlock()
			b = newBucket(n, bucketStart(n))
			x.seal(b)
			b.mu.Lock()
		}
		b.add(r.Seq, nanosOf(r.Time), r.Topic, false)
	}
	b.mu.Unlock()
	x.keys.add(added, records[len(records)-1].Seq)
}

// seal makes another bucket the open one.
func (x *index) seal(next *bucket) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sealed = append(x.sealed, x.open)
	x.open = next
	if !x.whole && len(x.sealed) > mostSealed {
		x.sealed = x.sealed[1:]
	}
	x.signal()
}

func (x *index) signal() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// The store is behind if it lacks more than spareBuckets sealed buckets, and far behind if it lacks farBuckets more.
const (
	spareBuckets = 2
	farBuckets   = 2
)

// pause returns how long the writer lets large requests wait after n records so that the store can
// follow, and whether the small ones wait, too, because it is far behind. Waiting in proportion keeps every wait short.
func (x *index) pause(n int) (d time.Duration, far bool) {
	const most = 20 * time.Millisecond
	x.mu.RLock()
	behind := len(x.sealed) - spareBuckets
	whole := x.whole
	x.mu.RUnlock()
	if behind <= 0 || !whole {
		return 0, false
	}
	return min(time.Duration(int64(n)*x.cost.Load()*int64(behind)/2), most), behind > farBuckets
}

// memory returns the bucket in memory that has a number, or nil.
func (x *index) memory(seq uint64) *bucket {
	n := bucketOf(seq)
	for _, b := range x.sealed {
		if b.n == n {
			return b
		}
	}
	if x.open.n == n {
		return x.open
	}
	return nil
}

// find returns the numbers from one up to another, of the same bucket, of the records that
// the filters match. Removed ones are among them. ok is false if the index does not know.
func (x *index) find(ctx context.Context, filters []topics.Filter, from, upTo uint64) (seqs []uint64, ok bool) {
	x.mu.RLock()
	b, st, stored := x.memory(from), x.store, bucketOf(from) < x.applied
	x.mu.RUnlock()
	if b != nil {
		b.mu.RLock()
		ok = b.from <= max(from, x.log.first.Load()) && !b.holed // what could not be read may be there again
		b.mu.RUnlock()
		if !ok {
			return nil, false
		}
		return b.find(filters, from, upTo, false), true
	}
	if !stored {
		return nil, false
	}
	may := func(f topics.Filter) bool { return !f.Exact() || x.mayHave(st, bucketOf(from), f.String()) }
	if !slices.ContainsFunc(filters, may) {
		return nil, true
	}
	seqs, err := x.findStored(ctx, st, filters, from, upTo)
	return seqs, err == nil
}

// live returns those of find that were not removed.
func (x *index) live(ctx context.Context, filters []topics.Filter, from, upTo uint64) (seqs []uint64, ok bool) {
	x.mu.RLock()
	st := x.store
	x.mu.RUnlock()
	seqs, ok = x.find(ctx, filters, from, upTo)
	if !ok || len(seqs) == 0 {
		return seqs, ok
	}
	x.mu.RLock()
	b, removed, same := x.memory(from), x.removed[bucketOf(from)], x.store == st
	x.mu.RUnlock()
	if !same {
		return nil, false // removed says nothing of the store that find has asked
	}
	gone := func(p int) bool { return hasPlace(removed, p) }
	if b != nil {
		gone = b.isRemoved
	}
	kept := seqs[:0]
	for _, seq := range seqs {
		if !gone(placeOf(seq)) {
			kept = append(kept, seq)
		}
	}
	return kept, true
}

// isRemoved reports whether the index knows that a record was removed.
func (x *index) isRemoved(seq uint64) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if b := x.memory(seq); b != nil {
		return b.isRemoved(placeOf(seq))
	}
	return hasPlace(x.removed[bucketOf(seq)], placeOf(seq))
}

// run writes the store until the log is closed.
func (x *index) run() {
	defer close(x.done)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		x.step()
		select {
		case <-x.wake:
		case <-ticker.C:
			x.settleRemovals()
		case r := <-x.removals:
			x.remove(r)
		case <-x.log.closing.Done():
			x.end()
			return
		}
	}
}

// end closes the store.
func (x *index) end() {
	for {
		select {
		case r := <-x.removals:
			x.remove(r)
			continue
		default:
		}
		break
	}
	x.mu.RLock()
	st := x.store
	x.mu.RUnlock()
	if st == nil {
		return
	}
	usable := x.usable()
	if usable {
		_ = x.flushKeys() // if it fails, the next start reads them from the segments
		x.settleRemovals()
	}
	st.close(usable)
}

// step brings the store up to date.
func (x *index) step() {
	x.mu.RLock()
	st := x.store
	x.mu.RUnlock()
	again := x.repaired.Swap(false)
	if again && st != nil {
		x.failures-- // this is none
	}
	if st != nil && (again || st.failure.Load() != nil) {
		x.drop(st)
		st = nil
	}
	if st == nil {
		if time.Now().Before(x.retryAt) || !x.begin() {
			if time.Now().Before(x.retryAt) && !x.keys.complete() {
				_ = x.rebuildKeys() // it is tried again
			}
			return
		}
	}
	for x.log.closing.Err() == nil {
		more, err := x.advance()
		if err != nil || !more {
			return // a store that has failed signals
		}
		select {
		case r := <-x.removals:
			x.remove(r)
		default:
		}
	}
}

// drop forgets a store that has failed.
func (x *index) drop(st *store) {
	x.mu.Lock()
	x.store, x.applied, x.whole = nil, 0, false
	x.removed = map[uint64][]uint16{}
	x.holed = false
	x.dropFilters(math.MaxUint64)
	x.mu.Unlock()
	x.keys.unready()
	x.meta = storeMeta{}
	x.topics.Store(0)
	st.close(false)
	if x.failures++; x.failures > 3 {
		x.retryAt = time.Now().Add(time.Minute)
	}
	if x.log.ours() == nil {
		_ = st.files.RemoveAll(st.dir) // otherwise opening it fails
	}
}

func (x *index) openStore() (*store, error) {
	return openStore(&x.log.opts, x.lane, x.signal)
}

// begin opens a store, and reads how far it has come. It reports whether there is one.
func (x *index) begin() bool {
	if !x.usable() {
		x.retryAt = time.Now().Add(2 * time.Second)
		return false
	}
	st, err := x.openStore()
	if err != nil {
		x.log.opts.Logger.Warn("the log has no index for now, and searches its segments", "error", err)
		x.retryAt = time.Now().Add(10 * time.Second)
		return false
	}
	meta, fits, err := x.readMeta(st)
	if err == nil && !fits {
		st.close(false)
		if err = st.files.RemoveAll(st.dir); err == nil {
			st, err = x.openStore()
		}
		first := bucketOf(x.log.first.Load())
		meta = storeMeta{id: x.log.id, gone: first, applied: first}
	}
	var removed map[uint64][]uint16
	if err == nil {
		removed, err = readRemoved(st)
	}
	if err == nil {
		err = x.keys.open(st, &meta)
	}
	if err == nil {
		err = x.countTopics(st)
	}
	switch {
	case err != nil && st != nil:
		x.drop(st)
		return false
	case err != nil:
		x.retryAt = time.Now().Add(10 * time.Second)
		return false
	}
	x.meta, x.stale = meta, false
	x.mu.Lock()
	x.store, x.applied, x.removed = st, meta.applied, removed
	x.mu.Unlock()
	return true
}

// readMeta reads how far a store has come. fits is false if the store is not one of this
// log, or has come further: then the log has lost its end, or that records have expired.
func (x *index) readMeta(st *store) (meta storeMeta, fits bool, err error) {
	err = st.use(func(db *pebble.DB) error {
		v, err := get(db, metaKey)
		if err == nil && v != nil {
			meta, fits = decodeMeta(v)
		}
		return err
	})
	x.mu.RLock()
	defer x.mu.RUnlock()
	next := x.open.n
	if len(x.sealed) > 0 {
		next = x.sealed[0].n
	}
	first := x.log.first.Load()
	began := max(x.log.began, 1)
	fits = fits && !x.stale && meta.id == x.log.id && meta.applied <= min(next, bucketOf(began)) && meta.keys < began && meta.applied >= bucketOf(first) && meta.first <= first
	return meta, fits, err
}

// advance does one thing that brings the store further. more is false if nothing is left.
func (x *index) advance() (more bool, err error) {
	x.mu.RLock()
	open := x.open
	oldest := open
	if len(x.sealed) > 0 {
		oldest = x.sealed[0]
	}
	sealed := x.sealed
	x.mu.RUnlock()
	first := x.log.first.Load()
	for _, b := range append(sealed[:len(sealed):len(sealed)], open) {
		b.expire(first)
	}
	switch {
	case oldest.from > max(bucketStart(oldest.n), first):
		return true, x.complete(oldest)
	case !x.keys.complete():
		return true, x.rebuildKeys()
	case x.meta.applied < oldest.n:
		return true, x.rebuild(oldest.n)
	}
	x.mu.Lock()
	x.whole = true
	x.mu.Unlock()
	switch {
	case len(sealed) > 0:
		return true, x.flush(sealed[:min(len(sealed), 2)], len(sealed))
	case bucketOf(first) > x.meta.gone:
		return true, x.flush(nil, 0)
	case x.keys.waiting() > mostKeys:
		return true, x.flushKeys()
	}
	return false, x.keys.expire()
}

// complete adds the records of a bucket from before this process.
func (x *index) complete(b *bucket) error {
	before := newBucket(b.n, bucketStart(b.n))
	if err := x.scanInto(before, b.from-1); err != nil {
		return err
	}
	b.prepend(before)
	return nil
}

// scanInto adds the records of the segments up to a number to a bucket.
func (x *index) scanInto(b *bucket, upTo uint64) error {
	err := x.log.scan(x.log.closing, bucketStart(b.n), upTo, func(f *frame) {
		if !f.hidden() {
			b.add(f.seq, f.nanos, string(f.topicBytes()), f.removed())
		}
	})
	b.holed = x.log.hasHole(bucketStart(b.n), upTo)
	return err
}

// hasHole reports whether numbers from one up to another, of those that are retained, are
// known to be lost.
func (l *Log) hasHole(from, upTo uint64) bool {
	from, upTo = max(from, l.first.Load(), 1), min(upTo, l.lastSeq())
	return from <= upTo && l.holeAfter(from-1, upTo).first <= upTo
}

// rebuild adds some buckets of the segments to the store, before the given one.
func (x *index) rebuild(before uint64) error {
	var built []*bucket
	for n := x.meta.applied; n < before && len(built) < 2; n++ {
		b := newBucket(n, bucketStart(n))
		if err := x.scanInto(b, bucketEnd(bucketStart(n))); err != nil {
			return err
		}
		b.expire(x.log.first.Load())
		built = append(built, b)
	}
	return x.flush(built, 0)
}
