package hub

import (
	"context"
	"iter"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
)

// MemoryOptions configure [NewMemoryLog]. The zero value holds the defaults.
type MemoryOptions struct {
	// MaxAge is how long a message is retained. 0 means 24 hours; a negative
	// value, without end.
	MaxAge time.Duration

	// MaxBytes bounds what is retained: topics, types and data, and 192 bytes for
	// each message. 0 means 64 MiB.
	MaxBytes int

	// DedupWindow is for how long a key makes a message that is published again
	// a repeat. 0 means 2 minutes.
	DedupWindow time.Duration
}

// memoryLog is a Log in memory.
type memoryLog struct {
	opts   MemoryOptions
	epochs []Epoch

	mu     sync.Mutex
	ring   ring
	topics map[string]*TopicInfo
	keys   map[topicKey]uint64
	used   []usedKey     // of keys, the oldest first
	grown  chan struct{} // closed when there is more, or at the end
	closed bool
}

type topicKey struct{ topic, key string }

type usedKey struct {
	topicKey
	at time.Time
}

// NewMemoryLog returns an empty log that keeps messages in memory, and nothing
// beyond Close. Nil options are the defaults.
func NewMemoryLog(opts *MemoryOptions) Log {
	var o MemoryOptions
	if opts != nil {
		o = *opts
	}
	setDefault(&o.MaxAge, 24*time.Hour)
	setDefault(&o.MaxBytes, 64<<20)
	setDefault(&o.DedupWindow, 2*time.Minute)
	return &memoryLog{
		opts:   o,
		epochs: []Epoch{{ID: NewEpochID(time.Now()), First: 1}},
		ring:   ring{first: 1},
		topics: map[string]*TopicInfo{},
		keys:   map[topicKey]uint64{},
		grown:  make(chan struct{}),
	}
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

func (l *memoryLog) Append(ctx context.Context, messages []Message) []Appended {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := ctx.Err()
	if l.closed {
		err = ErrClosed
	}
	results := make([]Appended, len(messages))
	for i, m := range messages {
		if err != nil {
			results[i] = Appended{Err: err}
		} else {
			results[i] = l.append(m)
		}
	}
	if !l.closed {
		close(l.grown)
		l.grown = make(chan struct{})
	}
	return results
}

func (l *memoryLog) append(m Message) Appended {
	now := time.Now().UTC()
	l.expire(now)
	rec := &entry{Record: Record{Seq: l.ring.last() + 1, Time: now, Topic: m.Topic, Type: m.Type, Data: m.Data}}
	if rec.size() > l.opts.MaxBytes {
		return Appended{Err: ErrTooLarge}
	}
	if m.Key != "" {
		k := topicKey{m.Topic, m.Key}
		if seq, ok := l.keys[k]; ok {
			first := l.get(seq)
			if first == nil || first.Type != m.Type || first.Data != m.Data {
				return Appended{Err: ErrKeyConflict}
			}
			return Appended{Seq: seq, Repeat: true}
		}
		l.keys[k] = rec.Seq
		l.used = append(l.used, usedKey{k, now})
	}
	l.ring = l.ring.push(rec)
	info := l.topics[m.Topic]
	if info == nil {
		info = &TopicInfo{Topic: m.Topic}
		l.topics[m.Topic] = info
	}
	info.Count++
	info.Last, info.Time = rec.Seq, now
	l.remove(l.ring.excess(math.MaxInt, l.opts.MaxBytes))
	return Appended{Seq: rec.Seq}
}

// expire removes what is too old. Callers hold mu.
func (l *memoryLog) expire(now time.Time) {
	for len(l.used) > 0 && now.Sub(l.used[0].at) > l.opts.DedupWindow {
		delete(l.keys, l.used[0].topicKey)
		l.used = l.used[1:]
	}
	if l.opts.MaxAge > 0 {
		records := l.ring.records
		l.remove(sort.Search(len(records), func(i int) bool { return now.Sub(records[i].Time) <= l.opts.MaxAge }))
	}
}

// remove removes the oldest n records. Callers hold mu.
func (l *memoryLog) remove(n int) {
	for _, rec := range l.ring.records[:n] {
		info := l.topics[rec.Topic]
		if info.Count--; info.Count == 0 {
			delete(l.topics, rec.Topic)
		}
	}
	l.ring = l.ring.drop(n)
}

// get returns a retained record, or nil. Callers hold mu.
func (l *memoryLog) get(seq uint64) *entry {
	if seq < l.ring.first || seq > l.ring.last() {
		return nil
	}
	return l.ring.records[seq-l.ring.first]
}

// current returns what is retained now.
func (l *memoryLog) current() (ring, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ring{}, ErrClosed
	}
	l.expire(time.Now())
	return l.ring, nil
}

func (l *memoryLog) State(context.Context) (State, error) {
	r, err := l.current()
	if err != nil {
		return State{}, err
	}
	return State{First: r.first, Last: r.last()}, nil
}

func (l *memoryLog) Epochs() []Epoch { return l.epochs }

func (l *memoryLog) Read(_ context.Context, q Query) (Batch, error) {
	r, err := l.current()
	b := Batch{Through: q.After}
	if err != nil || q.UpTo <= q.After {
		return b, err
	}
	if q.After+1 < r.first {
		b.Lost, b.Expired = min(r.first-1, q.UpTo), true
		b.Through = b.Lost
	}
	bytes := 0
	for _, rec := range r.from(b.Through + 1) {
		if rec.Seq > q.UpTo {
			break
		}
		b.Through = rec.Seq
		if matchAny(q.Filters, rec.Topic) {
			b.Records = append(b.Records, rec.Record)
			bytes += len(rec.Data)
			if len(b.Records) >= q.MaxRecords || bytes >= q.MaxBytes {
				return b, nil
			}
		}
	}
	b.Through = q.UpTo
	return b, nil
}

// tailBatch is how many records Tail yields at a time.
const tailBatch = 256

func (l *memoryLog) Tail(ctx context.Context, after uint64) iter.Seq2[[]Record, error] {
	return func(yield func([]Record, error) bool) {
		for {
			l.mu.Lock()
			records, grown, closed := l.ring.from(after+1), l.grown, l.closed
			l.mu.Unlock()
			for part := range slices.Chunk(records, tailBatch) {
				batch := make([]Record, len(part))
				for i, rec := range part {
					batch[i] = rec.Record
				}
				after = batch[len(batch)-1].Seq
				if ctx.Err() != nil || !yield(batch, nil) {
					return
				}
			}
			if len(records) > 0 {
				continue
			}
			if closed {
				return
			}
			select {
			case <-grown:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (l *memoryLog) Get(_ context.Context, seq uint64) (Record, error) {
	r, err := l.current()
	if err != nil {
		return Record{}, err
	}
	if seq < r.first || seq > r.last() {
		return Record{}, ErrNotFound
	}
	return r.from(seq)[0].Record, nil
}

// A call of Newest looks at no more than so many topics, or records, and holds the lock
// for that long.
const (
	newestTopics  = 4096
	newestRecords = 4096
)

// Newest looks at the topics if there are few, and otherwise at the records.
func (l *memoryLog) Newest(ctx context.Context, filters []Filter, after, upTo uint64, limit int) ([]uint64, uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, 0, ErrClosed
	case ctx.Err() != nil:
		return nil, 0, ctx.Err()
	case upTo <= after:
		return nil, after, nil
	}
	l.expire(time.Now())
	if seqs, ok := l.newestByTopic(filters, after, upTo); ok {
		if len(seqs) <= limit {
			return seqs, upTo, nil
		}
		return seqs[:limit], seqs[limit-1], nil
	}
	var seqs []uint64
	through := max(after, l.ring.first-1)
	for i, rec := range l.ring.from(after + 1) {
		if rec.Seq > upTo {
			break
		}
		if i == newestRecords || len(seqs) == limit {
			return seqs, through, nil
		}
		through = rec.Seq
		if l.topics[rec.Topic].Last == rec.Seq && matchAny(filters, rec.Topic) {
			seqs = append(seqs, rec.Seq)
		}
	}
	return seqs, upTo, nil
}

// newestByTopic returns what Newest does, without a limit. ok is false if there are too
// many topics. Callers hold mu.
func (l *memoryLog) newestByTopic(filters []Filter, after, upTo uint64) (seqs []uint64, ok bool) {
	found := map[uint64]bool{} // several filters may match a topic
	add := func(info *TopicInfo) {
		if info != nil && info.Last > after && info.Last <= upTo {
			found[info.Last] = true
		}
	}
	switch {
	case !slices.ContainsFunc(filters, func(f Filter) bool { return !f.Exact() }):
		for _, f := range filters {
			add(l.topics[f.String()])
		}
	case len(l.topics) <= newestTopics:
		for topic, info := range l.topics {
			if matchAny(filters, topic) {
				add(info)
			}
		}
	default:
		return nil, false
	}
	return slices.Sorted(maps.Keys(found)), true
}

// eachTopic calls f, under mu, for each topic that has a retained record.
func (l *memoryLog) eachTopic(f func(TopicInfo)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	l.expire(time.Now())
	for _, info := range l.topics {
		f(*info)
	}
	return nil
}

// backRecords is after how many records Back looks at its context.
const backRecords = 1024

func (l *memoryLog) Back(ctx context.Context, filters []Filter, n int, upTo uint64) (uint64, error) {
	r, err := l.current()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return 0, err
	}
	for i, rec := range slices.Backward(r.records) {
		if i%backRecords == 0 {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
		}
		if rec.Seq <= upTo && matchAny(filters, rec.Topic) {
			if n--; n == 0 {
				return rec.Seq - 1, nil
			}
		}
	}
	return 0, nil
}

func (l *memoryLog) At(_ context.Context, t time.Time) (uint64, error) {
	r, err := l.current()
	if err != nil {
		return 0, err
	}
	i := sort.Search(len(r.records), func(i int) bool { return !r.records[i].Time.Before(t) })
	return r.first + uint64(i), nil
}

func (l *memoryLog) Count(_ context.Context, filters []Filter, after uint64) (n, through uint64, err error) {
	r, err := l.current()
	if err != nil {
		return 0, 0, err
	}
	for _, rec := range r.from(after + 1) {
		if matchAny(filters, rec.Topic) {
			n++
		}
	}
	return n, r.last(), nil
}

func (l *memoryLog) Topics(_ context.Context, filter Filter, after string, limit int) ([]TopicInfo, error) {
	var found []TopicInfo
	err := l.eachTopic(func(info TopicInfo) {
		if info.Topic > after && filter.Match(info.Topic) {
			found = append(found, info)
		}
	})
	slices.SortFunc(found, func(a, b TopicInfo) int { return strings.Compare(a.Topic, b.Topic) })
	return found[:min(len(found), limit)], err
}

func (l *memoryLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.grown)
	}
	return nil
}
