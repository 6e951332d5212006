package segmentlog

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// step is after how many topics a reader of the index looks at its context.
const step = 256

// stopped returns why nobody needs the answer of a reader any more, or nil.
func (l *Log) stopped(ctx context.Context) error {
	runtime.Gosched()
	return cmp.Or(ctx.Err(), l.closing.Err())
}

// findStored is find in a store.
func (x *index) findStored(ctx context.Context, st *store, filters []topics.Filter, from, upTo uint64) (seqs []uint64, err error) {
	n := bucketOf(from)
	add := func(value []byte) {
		for _, p := range decodePlaces(value) {
			if seq := seqOf(n, int(p)); seq >= from && seq <= upTo {
				seqs = append(seqs, seq)
			}
		}
	}
	seen := 0
	err = st.use(func(db *pebble.DB) error {
		for _, f := range filters {
			if f.Exact() {
				value, err := get(db, bucketKey('i', n, f.String()))
				if err != nil {
					return err
				}
				add(value)
				continue
			}
			lower := bucketKey('i', n, literalPrefix(f))
			err := each(db, lower, prefixEnd(lower), func(key, value []byte) error {
				if f.Match(string(key[9:])) {
					add(value)
				}
				if seen++; seen%step == 0 {
					return x.log.stopped(ctx)
				}
				return nil
			})
			if x.log.stopped(ctx) != nil {
				return nil // the store is in order
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	slices.Sort(seqs)
	return slices.Compact(seqs), cmp.Or(err, x.log.stopped(ctx))
}

// A topicsView is what the index knows of the topics at one time.
type topicsView struct {
	log     *Log
	db      pebble.Reader
	gone    uint64
	first   uint64
	buckets []*bucket // those that db lacks, ascending
	removed func(n uint64) []uint16
}

// view calls f with a view. It returns false if the index does not have everything. f's error is
// one of the store, unless nobody needs the answer any more.
func (x *index) view(ctx context.Context, f func(v *topicsView) error) (ok bool, err error) {
	x.mu.RLock()
	st, whole := x.store, x.whole
	buckets := append(slices.Clone(x.sealed), x.open)
	x.mu.RUnlock()
	if !whole {
		return false, nil
	}
	first := x.log.first.Load()
	for _, b := range buckets {
		b.expire(first)
	}
	err = st.use(func(db *pebble.DB) error {
		snap := db.NewSnapshot()
		defer snap.Close()
		v, err := get(snap, metaKey)
		if err != nil {
			return err
		}
		meta, ok := decodeMeta(v)
		if !ok {
			return errors.New("the index does not say how far it has come")
		}
		// Those before are in the snapshot.
		buckets = slices.DeleteFunc(buckets, func(b *bucket) bool { return b.n < meta.applied })
		err = f(&topicsView{
			log: x.log, db: snap, gone: meta.gone, first: first, buckets: buckets,
			removed: func(n uint64) []uint16 {
				x.mu.RLock()
				defer x.mu.RUnlock()
				return x.removed[n]
			},
		})
		if x.log.stopped(ctx) != nil {
			return nil // the store is in order
		}
		return err
	})
	if err == nil {
		err = x.log.stopped(ctx)
	}
	x.mu.RLock()
	same := x.store == st // otherwise removed has returned what another one has
	x.mu.RUnlock()
	if errors.Is(err, errStore) || err == nil && !same {
		return false, nil
	}
	return true, err
}

// topic returns what is retained of a topic. stored is what the store says, or nil.
func (v *topicsView) topic(name string, stored []byte) (info topicValue, err error) {
	if stored != nil {
		info = decodeTopic(stored)
	}
	for n := v.gone; n <= bucketOf(v.first) && info.count > 0; n++ {
		value, err := get(v.db, bucketKey('i', n, name))
		if err != nil {
			return topicValue{}, err
		}
		for _, p := range decodePlaces(value) {
			if seqOf(n, int(p)) < v.first && info.count > 0 && !hasPlace(v.removed(n), int(p)) {
				info.count--
			}
		}
	}
	if info.last < v.first {
		info = topicValue{}
	}
	for _, b := range v.buckets {
		if t, ok := b.topic(name); ok {
			info.count += uint64(t.count)
			info.last, info.nanos = seqOf(b.n, int(t.last)), t.nanos
		}
	}
	return info, nil
}

// one returns what is retained of a topic.
func (v *topicsView) one(name string) (topicValue, error) {
	stored, err := get(v.db, append([]byte("t"), name...))
	if err != nil {
		return topicValue{}, err
	}
	return v.topic(name, stored)
}

// last returns the number of the newest record of a topic, or 0.
func (v *topicsView) last(name string) (uint64, error) {
	for _, b := range slices.Backward(v.buckets) {
		if t, ok := b.topic(name); ok {
			return seqOf(b.n, int(t.last)), nil
		}
	}
	stored, err := get(v.db, append([]byte("t"), name...))
	if info := decodeTopic(stored); err == nil && info.last >= v.first {
		return info.last, nil
	}
	return 0, err
}

// each calls f for the retained topics that a filter matches, in the order of their names,
// from the one that follows a name on, until f returns false.
func (v *topicsView) each(ctx context.Context, filter topics.Filter, after string, f func(name string, info topicValue) bool) error {
	var failed error
	err := v.names(ctx, filter, after, func(name string, stored []byte) bool {
		info, err := v.topic(name, stored)
		failed = err
		return err == nil && (info.count == 0 || f(name, info))
	})
	return cmp.Or(err, failed)
}

// names is like each, but its topics may have expired. stored is what the store says of a
// topic, or nil. It is valid during the call.
func (v *topicsView) names(ctx context.Context, filter topics.Filter, after string, f func(name string, stored []byte) bool) error {
	prefix := literalPrefix(filter)
	low := prefix
	if after >= prefix {
		low = after + "\x00"
	}
	it, err := v.db.NewIter(&pebble.IterOptions{LowerBound: append([]byte("t"), low...), UpperBound: prefixEnd(append([]byte("t"), prefix...))})
	if err != nil {
		return err
	}
	defer it.Close()
	it.First()
	type source struct {
		next func() (string, bool)
		name string
		ok   bool
	}
	var sources []*source
	for _, b := range v.buckets {
		s := &source{next: b.namesFrom(low)}
		s.name, s.ok = s.next()
		sources = append(sources, s)
	}
	for n := 0; ; n++ {
		if n%step == step-1 {
			if err := v.log.stopped(ctx); err != nil {
				return err
			}
			runtime.Gosched() // a list is less urgent than a message
		}
		name, found := "", false
		if it.Valid() {
			name, found = string(it.Key()[1:]), true
		} else if err := it.Error(); err != nil {
			return err
		}
		for _, s := range sources {
			if s.ok && (!found || s.name < name) {
				name, found = s.name, true
			}
		}
		if !found || !strings.HasPrefix(name, prefix) {
			return nil
		}
		var stored []byte
		if it.Valid() && string(it.Key()[1:]) == name {
			if stored, err = it.ValueAndErr(); err != nil {
				return err
			}
		}
		more := !filter.Match(name) || f(name, stored)
		if stored != nil {
			it.Next()
		}
		if !more {
			return nil
		}
		for _, s := range sources {
			if s.ok && s.name == name {
				s.name, s.ok = s.next()
			}
		}
	}
}

// scanTopics finds the topics without the index, by reading all records.
func (l *Log) scanTopics(ctx context.Context) (map[string]*topicValue, error) {
	found := map[string]*topicValue{}
	first := l.first.Load()
	err := l.scan(ctx, first, l.lastSeq(), func(f *frame) {
		if f.removed() || f.hidden() {
			return
		}
		v := found[string(f.topicBytes())]
		if v == nil {
			v = new(topicValue)
			found[string(f.topicBytes())] = v
		}
		v.last, v.nanos = f.seq, f.nanos
		v.count++
	})
	return found, err
}

// Topics implements [eventlog.Log].
func (l *Log) Topics(ctx context.Context, filter topics.Filter, after string, limit int) ([]eventlog.TopicInfo, error) {
	if err := l.open(); err != nil {
		return nil, err
	}
	var infos []eventlog.TopicInfo
	add := func(name string, v topicValue) bool {
		infos = append(infos, eventlog.TopicInfo{Topic: name, Last: l.epochs.Position(v.last), Count: v.count, Time: time.Unix(0, v.nanos).UTC()})
		return len(infos) < limit
	}
	ok, err := l.index.view(ctx, func(v *topicsView) error { return v.each(ctx, filter, after, add) })
	if ok || err != nil {
		return infos, l.ended(err)
	}
	infos = nil
	found, err := l.scanTopics(ctx)
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if name > after && filter.Match(name) && !add(name, *found[name]) {
			break
		}
	}
	return infos, l.ended(err)
}

// A call of Newest looks at no more than so many topics, or records.
const (
	newestTopics  = 1024
	newestRecords = 4096
)

// Newest implements [eventlog.Log].
func (l *Log) Newest(ctx context.Context, filters []topics.Filter, after, upTo uint64, limit int) (seqs []uint64, through uint64, err error) {
	if err := l.open(); err != nil {
		return nil, 0, err
	}
	if err := ctx.Err(); err != nil || upTo <= after {
		return nil, after, err
	}
	few := false
	ok, err := l.index.view(ctx, func(v *topicsView) (err error) {
		seqs, few, err = v.newestByTopic(ctx, filters, after, upTo)
		return err
	})
	if ok && err == nil && !few {
		seqs, through, err = l.newestByRecord(ctx, filters, after, upTo, limit)
		ok = err == nil || !errors.Is(err, errStore)
	}
	switch {
	case ok && err != nil:
		return nil, after, l.ended(err)
	case !ok:
		found, err := l.scanTopics(ctx)
		if err != nil {
			return nil, after, l.ended(err)
		}
		seqs, few = nil, true
		for name, v := range found {
			if topics.MatchAny(filters, name) && v.last > after && v.last <= upTo {
				seqs = append(seqs, v.last)
			}
		}
		slices.Sort(seqs)
	}
	switch {
	case !few:
		return seqs, through, nil
	case len(seqs) > limit:
		return seqs[:limit], seqs[limit-1], nil
	}
	return seqs, upTo, nil
}

// newestByTopic returns what Newest does, without a limit. few is false if there are too many
// topics to look at.
func (v *topicsView) newestByTopic(ctx context.Context, filters []topics.Filter, after, upTo uint64) (seqs []uint64, few bool, err error) {
	left := newestTopics
	for _, f := range filters {
		if !f.Exact() {
			err := v.names(ctx, f, "", func(string, []byte) bool {
				left--
				return left > 0
			})
			if err != nil || left == 0 {
				return nil, false, err
			}
		}
	}
	var failed error
	add := func(name string, _ []byte) bool {
		last, err := v.last(name)
		if last > after && last <= upTo {
			seqs = append(seqs, last)
		}
		failed = err
		return err == nil
	}
	for _, f := range filters {
		if f.Exact() {
			add(f.String(), nil)
		} else {
			err = v.names(ctx, f, "", add)
		}
		if err := cmp.Or(err, failed); err != nil {
			return nil, false, err
		}
	}
	slices.Sort(seqs)
	return slices.Compact(seqs), true, nil
}

// newestByRecord returns what Newest does, by looking at records in their order.
func (l *Log) newestByRecord(ctx context.Context, filters []topics.Filter, after, upTo uint64, limit int) (seqs []uint64, through uint64, err error) {
	b, err := l.Read(ctx, eventlog.Query{
		Filters: filters, After: after, UpTo: min(upTo, max(after, l.first.Load()-1)+newestRecords),
		MaxRecords: min(limit, newestRecords), MaxBytes: 4 << 20,
	})
	if err != nil {
		return nil, after, err
	}
	last := make(map[string]uint64)
	for i := range b.Records {
		last[b.Records[i].Topic] = b.Records[i].Seq
	}
	ok, err := l.index.view(ctx, func(v *topicsView) error {
		for topic, seq := range last {
			newest, err := v.last(topic)
			if err != nil {
				return err
			}
			if newest == seq {
				seqs = append(seqs, seq)
			}
		}
		return nil
	})
	if !ok && err == nil {
		err = errStore
	}
	slices.Sort(seqs)
	return seqs, b.Through, err
}

// liveIn returns the numbers of the records from one up to another, in one bucket, that the
// filters match and that were not removed. every says that they match everything.
func (l *Log) liveIn(ctx context.Context, filters []topics.Filter, every bool, from, upTo uint64) (seqs []uint64, err error) {
	if !every {
		if seqs, ok := l.index.live(ctx, filters, from, upTo); ok {
			return seqs, nil
		}
	}
	err = l.scan(ctx, from, upTo, func(f *frame) {
		if !f.removed() && !f.hidden() && (every || topics.MatchAny(filters, string(f.topicBytes()))) {
			seqs = append(seqs, f.seq)
		}
	})
	return seqs, err
}

// Back implements [eventlog.Log].
func (l *Log) Back(ctx context.Context, filters []topics.Filter, n int, upTo uint64) (uint64, error) {
	if err := cmp.Or(l.open(), ctx.Err()); err != nil {
		return 0, err
	}
	every := matchesAll(filters)
	first, last := l.first.Load(), min(upTo, l.lastSeq())
	// It reads backwards in ever larger windows, each in one bucket.
	for width := uint64(max(64, min(2*n, bucketSize))); last >= first && last > 0; width = min(4*width, bucketSize) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		from := max(first, bucketStart(bucketOf(last)))
		if last-from >= width {
			from = last - width + 1
		}
		seqs, err := l.liveIn(ctx, filters, every, from, last)
		if err != nil {
			return 0, l.ended(err)
		}
		if len(seqs) >= n {
			return seqs[len(seqs)-n] - 1, nil
		}
		n -= len(seqs)
		last = from - 1
	}
	return 0, nil
}
