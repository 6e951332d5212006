package segmentlog

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"example.com/tidings/internal/yield"
)

// flushEvery is how many buckets the store may hold in memory only. A crash costs their work.
const flushEvery = 8

// indexRoom is how much of the disk must be free to open a store or to write it. Pebble may wait
// for ever where there is no room for a file.
const indexRoom = 1 << 20

// usable reports whether a store can be written: the folder is the log's, the disk works, and
// it has room.
func (x *index) usable() bool {
	l := x.log
	if l.ours() != nil || l.Err() != nil {
		return false
	}
	free, _, err := l.files.free(l.opts.Dir)
	return err != nil || free >= indexRoom
}

// A change is what a topic's records in the store gain and lose.
type change struct {
	topic string
	count int64
	last  uint64 // the newest of the gained records, or 0
	nanos int64
}

// flush adds buckets to the store, and takes those out that have expired. The first sealed
// ones of the buckets in memory are among them.
func (x *index) flush(buckets []*bucket, sealed int) error {
	start := time.Now()
	if err := x.distrust(buckets); err != nil {
		return err
	}
	meta := x.meta
	gone := min(bucketOf(x.log.first.Load()), meta.applied)
	removed := make([][]uint16, len(buckets)) // places
	err := x.store.use(func(db *pebble.DB) error {
		batch := db.NewBatch()
		defer batch.Close()
		var changes []change
		for i, b := range buckets {
			added, places, err := putBucket(batch, b, x.lane)
			if err != nil {
				return err
			}
			removed[i] = places
			changes = append(changes, added...)
		}
		for n := meta.gone; n < gone; n++ {
			lost, err := x.takeBucket(db, n)
			if err != nil {
				return err
			}
			changes = append(changes, lost...)
		}
		if gone > meta.gone {
			for _, kind := range []byte{'i', 'r', 'b'} {
				if err := batch.DeleteRange(bucketKey(kind, meta.gone, ""), bucketKey(kind, gone, ""), nil); err != nil {
					return err
				}
			}
			meta.gone = gone
		}
		if err := x.changeTopics(db, batch, changes); err != nil {
			return err
		}
		flushed, err := x.keys.put(batch, &meta)
		if err != nil {
			return err
		}
		if n := len(buckets); n > 0 {
			meta.applied = buckets[n-1].n + 1
		}
		meta.first = x.log.first.Load() // putBucket has not left out more
		if err := batch.Set(metaKey, meta.encode(), nil); err != nil {
			return err
		}
		if err := batch.Commit(pebble.NoSync); err != nil {
			return err
		}
		if meta.applied/flushEvery != x.meta.applied/flushEvery {
			if _, err := db.AsyncFlush(); err != nil {
				return err
			}
		}
		x.keys.flushed(flushed)
		return nil
	})
	if err != nil {
		return err
	}
	x.mu.Lock()
	for i, b := range buckets {
		if len(removed[i]) > 0 {
			x.removed[b.n] = removed[i]
		}
	}
	for n := x.meta.gone; n < gone; n++ {
		delete(x.removed, n)
	}
	x.dropFilters(gone)
	x.applied = meta.applied
	for len(x.sealed) > 0 && x.sealed[0].n < meta.applied {
		x.sealed = x.sealed[1:]
	}
	x.mu.Unlock()
	x.meta = meta
	if sealed > 0 {
		x.cost.Store(int64(time.Since(start)) / int64(len(buckets)*bucketSize))
	}
	return nil
}

// distrust has the next start make the store again if it may lack something: records that could
// not be read, and their keys, may be there again by then.
func (x *index) distrust(buckets []*bucket) error {
	holed := x.log.hasHole(0, math.MaxUint64)
	for _, b := range buckets {
		b.mu.RLock()
		holed = holed || b.holed
		b.mu.RUnlock()
	}
	if x.holed || !holed {
		return nil
	}
	if err := x.markStale(); err != nil {
		return err
	}
	x.holed = true
	return nil
}

// flushKeys adds the keys that wait to the store.
func (x *index) flushKeys() error { return x.flush(nil, 0) }

// topicNanos is about what it costs to add a topic of a bucket to a batch, or to read it.
const topicNanos = 1000

// putBucket adds a bucket to a batch, and returns what its topics gain, and the places of its
// removed records.
func putBucket(batch *pebble.Batch, b *bucket, lane *yield.Lane) (changes []change, removed []uint16, err error) {
	ids := b.sort()
	b.mu.RLock() // its records may expire meanwhile
	defer b.mu.RUnlock()
	lists := b.postings()
	var value []byte
	filter := newTopicFilter(len(ids))
	work := yield.In(lane)
	defer work.Pause()
	for _, id := range ids {
		work.Did(topicNanos)
		if len(lists[id]) == 0 {
			continue
		}
		t := &b.topics[id]
		filter.add(t.name)
		value = appendPlaces(value[:0], lists[id])
		if err := batch.Set(bucketKey('i', b.n, t.name), value, nil); err != nil {
			return nil, nil, err
		}
		if t.count > 0 {
			changes = append(changes, change{t.name, int64(t.count), seqOf(b.n, int(t.last)), t.nanos})
		}
	}
	if err := batch.Set(bucketKey('b', b.n, ""), filter, nil); err != nil {
		return nil, nil, err
	}
	removed = b.removedHeld()
	return changes, removed, putRemoved(batch, b.n, removed)
}

// putRemoved adds the places of a bucket's removed records to a batch.
func putRemoved(batch *pebble.Batch, n uint64, places []uint16) error {
	if len(places) == 0 {
		return nil
	}
	return batch.Set(bucketKey('r', n, ""), appendPlaces(nil, places), nil)
}

// takeBucket returns what the topics of a bucket lose when it goes.
func (x *index) takeBucket(db *pebble.DB, n uint64) ([]change, error) {
	removed := x.removed[n] // only run changes it
	prefix := bucketKey('i', n, "")
	var changes []change
	work := yield.In(x.lane)
	defer work.Pause()
	err := each(db, prefix, bucketKey('i', n+1, ""), func(key, value []byte) error {
		work.Did(topicNanos)
		count := int64(0)
		for _, p := range decodePlaces(value) {
			if !hasPlace(removed, int(p)) {
				count++
			}
		}
		changes = append(changes, change{topic: string(key[len(prefix):]), count: -count})
		return nil
	})
	return changes, err
}

// changeTopics changes the topics in the store, and how many there are.
func (x *index) changeTopics(db *pebble.DB, batch *pebble.Batch, changes []change) error {
	slices.SortStableFunc(changes, func(a, b change) int { return strings.Compare(a.topic, b.topic) })
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte("t"), UpperBound: []byte("u")})
	if err != nil {
		return err
	}
	defer it.Close()
	more := int64(0)
	var key, value []byte
	work := yield.In(x.lane)
	defer work.Pause()
	for i := 0; i < len(changes); {
		work.Did(lookupNanos)
		topic := changes[i].topic
		key = append(append(key[:0], 't'), topic...)
		var v topicValue
		had := it.SeekGE(key) && string(it.Key()) == string(key)
		if had {
			old, err := it.ValueAndErr()
			if err != nil {
				return err
			}
			v = decodeTopic(old)
		} else if err := it.Error(); err != nil {
			return err
		}
		count := int64(v.count)
		for ; i < len(changes) && changes[i].topic == topic; i++ {
			c := &changes[i]
			count += c.count
			if c.last > v.last {
				v.last, v.nanos = c.last, c.nanos
			}
		}
		switch {
		case count > 0 && !had:
			more++
		case count <= 0 && had:
			more--
		}
		if count <= 0 {
			err = batch.Delete(key, nil)
		} else {
			v.count = uint64(count)
			value = v.append(value[:0])
			err = batch.Set(key, value, nil)
		}
		if err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	return x.addTopics(batch, more)
}

// readRemoved reads the places of all removed records in a store.
func readRemoved(st *store) (map[uint64][]uint16, error) {
	removed := map[uint64][]uint16{}
	err := st.use(func(db *pebble.DB) error {
		return each(db, []byte("r"), []byte("s"), func(key, value []byte) error {
			if len(key) == 9 {
				removed[binary.BigEndian.Uint64(key[1:])] = decodePlaces(value)
			}
			return nil
		})
	})
	return removed, err
}

// remove takes records that were removed out of the counts, and forgets their keys.
func (x *index) remove(r *removal) {
	defer close(r.done)
	x.keys.remove(r.records)
	stored := map[uint64][]removedRecord{}
	for _, rec := range r.records {
		x.mu.RLock()
		b, applied := x.memory(rec.seq), bucketOf(rec.seq) < x.applied
		x.mu.RUnlock()
		switch {
		case b != nil && rec.seq >= b.from:
			b.remove(rec.seq, x.log.nanos)
		case applied:
			stored[bucketOf(rec.seq)] = append(stored[bucketOf(rec.seq)], rec)
		} // otherwise the index gets to know from the segments
	}
	for n, records := range stored {
		// A store that fails is made anew from the segments.
		_ = x.store.use(func(db *pebble.DB) error { return x.removeStored(db, n, records) })
	}
}

// removeStored is remove for records of a bucket in the store.
func (x *index) removeStored(db *pebble.DB, n uint64, records []removedRecord) error {
	removed := slices.Clone(x.removed[n])
	counts := map[string]int64{}
	for _, rec := range records {
		p := uint16(placeOf(rec.seq))
		i, found := slices.BinarySearch(removed, p)
		if found {
			continue
		}
		places, err := get(db, bucketKey('i', n, rec.topic))
		if err != nil {
			return err
		}
		if hasPlace(decodePlaces(places), int(p)) {
			removed = slices.Insert(removed, i, p)
			counts[rec.topic]++
		}
	}
	x.mu.Lock()
	x.removed[n] = removed
	x.mu.Unlock()
	batch := db.NewBatch()
	defer batch.Close()
	if err := putRemoved(batch, n, removed); err != nil {
		return err
	}
	gone := int64(0)
	for topic, count := range counts {
		key := append([]byte("t"), topic...)
		old, err := get(db, key)
		if err != nil {
			return err
		}
		v := decodeTopic(old)
		if v.count <= uint64(count) {
			if old != nil {
				gone++
			}
			err = batch.Delete(key, nil)
		} else {
			v.count -= uint64(count)
			if bucketOf(v.last) == n && hasPlace(removed, placeOf(v.last)) {
				if v.last, err = x.lastStored(db, topic, n); err == nil {
					v.nanos = x.log.nanos(v.last)
				}
			}
			if err == nil {
				err = batch.Set(key, v.append(nil), nil)
			}
		}
		if err != nil {
			return err
		}
	}
	if err := x.addTopics(batch, -gone); err != nil {
		return err
	}
	return batch.Commit(pebble.NoSync)
}

// lastStored returns the newest record of a topic, in a bucket or before it, that was not
// removed. There is one.
func (x *index) lastStored(db *pebble.DB, topic string, n uint64) (uint64, error) {
	for ; n+1 > x.meta.gone; n-- {
		value, err := get(db, bucketKey('i', n, topic))
		if err != nil {
			return 0, err
		}
		for _, p := range slices.Backward(decodePlaces(value)) {
			if !hasPlace(x.removed[n], int(p)) {
				return seqOf(n, int(p)), nil
			}
		}
		if n == 0 {
			break
		}
	}
	return 0, nil
}

// nanos returns the time of a record, or one shortly before it if it cannot be read.
func (l *Log) nanos(seq uint64) (nanos int64) {
	list := l.list()
	s := list[max(at(list, seq), 0)]
	if m, ok := s.before(seq); ok {
		nanos = m.nanos
	}
	_ = l.each(l.closing, s, seq, seq, func(f *frame) { nanos = f.nanos })
	return nanos
}
