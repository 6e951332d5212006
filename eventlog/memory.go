package eventlog

import (
	"cmp"
	"context"
	"iter"
	"log/slog"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/tidings/internal/logclock"
	"example.com/tidings/internal/nameset"
	"example.com/tidings/internal/ringbuf"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// MemoryOptions configure [NewMemory]. The zero value holds the defaults.
type MemoryOptions struct {
	// MaxAge is how long a message is retained. 0 means 24 hours. A negative value means
	// forever.
	MaxAge time.Duration

	// MaxBytes bounds what is retained: topics, types, keys and data, and 192 bytes for
	// each message. 0 means 64 MiB.
	MaxBytes int

	// DedupWindow is how long a key makes a message that is published again a repeat, as
	// long as the message is retained. 0 means 2 minutes.
	DedupWindow time.Duration

	// MaxTopics and MaxKeys bound how many topics have a retained message, and how many keys
	// are remembered. A message that would add one more gets [ErrTooManyTopics] or
	// [ErrTooManyKeys]. 0 means [DefaultMaxTopics] and [DefaultMaxKeys].
	MaxTopics, MaxKeys int

	// Logger gets a warning when the wall clock steps far ahead: the log does not follow at
	// once. Nil means slog.Default.
	Logger *slog.Logger

	clock logclock.Source // nil is the system's
}

// memoryLog is a Log in memory.
type memoryLog struct {
	opts   MemoryOptions
	clock  *logclock.Clock
	epochs Timeline

	mu      sync.Mutex
	records ringbuf.Ring[*memoryRecord]
	topics  map[string]*TopicInfo
	names   nameset.Set // of topics
	keys    map[topicKey]uint64
	used    []usedKey     // of keys, the oldest first
	grown   chan struct{} // closed when there is more, or at the end
	closed  bool
}

// A memoryRecord is a record in a ring. Remove takes its content away.
type memoryRecord struct {
	seq   uint64
	time  time.Time
	topic string
	size  int

	content atomic.Pointer[memoryContent] // nil once it is removed
}

type memoryContent struct{ typ, key, data string }

// recordOverhead is what a record takes beside its strings.
const recordOverhead = 192

// Size implements [ringbuf.Item].
func (r *memoryRecord) Size() int { return r.size }

// record returns the record, or false if it is removed.
func (r *memoryRecord) record() (Record, bool) {
	c := r.content.Load()
	if c == nil {
		return Record{}, false
	}
	return Record{Seq: r.seq, Time: r.time, Topic: r.topic, Type: c.typ, Data: c.data}, true
}

type topicKey struct{ topic, key string }

type usedKey struct {
	topicKey
	seq uint64
	at  time.Time
}

// InMemory tells a hub that it shares the strings of the records with the log.
func (l *memoryLog) InMemory() bool { return true }

// memoryGeneration is the only generation of a log in memory.
const memoryGeneration = 1

// NewMemory returns an empty log that keeps messages in memory, and nothing beyond Close.
// Nil options are the defaults. Its time goes on with the machine's monotonic clock: a wall
// clock that is ahead is followed at twice the real speed, one that is behind has no effect.
func NewMemory(opts *MemoryOptions) Log {
	var o MemoryOptions
	if opts != nil {
		o = *opts
	}
	o.MaxAge = cmp.Or(o.MaxAge, 24*time.Hour)
	o.MaxBytes = cmp.Or(o.MaxBytes, 64<<20)
	o.DedupWindow = cmp.Or(o.DedupWindow, 2*time.Minute)
	o.MaxTopics = cmp.Or(o.MaxTopics, DefaultMaxTopics)
	o.MaxKeys = cmp.Or(o.MaxKeys, DefaultMaxKeys)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.clock == nil {
		o.clock = logclock.System()
	}
	clock := logclock.New(o.clock, time.Time{}, func(ahead time.Duration) {
		o.Logger.Warn("the wall clock is far ahead of the log's time; the log follows it at twice the real speed", "ahead", ahead.Round(time.Second))
	})
	return &memoryLog{
		opts:    o,
		clock:   clock,
		epochs:  Timeline{{ID: NewEpochID(clock.Now()), First: 1}},
		records: ringbuf.New[*memoryRecord](1),
		topics:  map[string]*TopicInfo{},
		keys:    map[topicKey]uint64{},
		grown:   make(chan struct{}),
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
	now := l.clock.Now()
	l.expire(now)
	for i, m := range messages {
		if err != nil {
			results[i] = Appended{Err: err}
		} else {
			results[i] = l.append(m, now)
		}
	}
	if !l.closed {
		close(l.grown)
		l.grown = make(chan struct{})
	}
	return results
}

func (l *memoryLog) append(m Message, now time.Time) Appended {
	rec := &memoryRecord{
		seq: l.records.Last() + 1, time: now, topic: m.Topic,
		size: len(m.Topic) + len(m.Type) + len(m.Key) + len(m.Data) + recordOverhead,
	}
	if rec.Size() > l.opts.MaxBytes {
		return Appended{Err: &TooLargeError{int64(rec.Size()), int64(l.opts.MaxBytes)}}
	}
	rec.content.Store(&memoryContent{m.Type, m.Key, m.Data})
	info := l.topics[m.Topic]
	k := topicKey{m.Topic, m.Key}
	if m.Key != "" {
		if seq, ok := l.keys[k]; ok {
			first := l.get(seq).content.Load()
			if first.typ != m.Type || first.data != m.Data {
				return Appended{Err: ErrKeyConflict}
			}
			return Appended{ID: l.epochs.Position(seq), Repeat: true}
		}
		if len(l.keys) >= l.opts.MaxKeys {
			return Appended{Err: ErrTooManyKeys}
		}
	}
	if info == nil {
		if len(l.topics) >= l.opts.MaxTopics && !strings.HasPrefix(m.Topic, topics.ReservedPrefix) {
			return Appended{Err: ErrTooManyTopics}
		}
		info = &TopicInfo{Topic: strings.Clone(m.Topic)}
		l.topics[info.Topic] = info
		l.names.Add(info.Topic)
	}
	if m.Key != "" {
		l.keys[k] = rec.seq
		l.used = append(l.used, usedKey{k, rec.seq, now})
	}
	l.records = l.records.Push(rec)
	rec.topic = info.Topic // one string for all of them
	info.Count++
	info.Last, info.Time = l.epochs.Position(rec.seq), now
	l.remove(l.records.Excess(math.MaxInt, l.opts.MaxBytes))
	return Appended{ID: info.Last}
}

// expire removes what is too old. Callers hold mu.
func (l *memoryLog) expire(now time.Time) {
	for len(l.used) > 0 && now.Sub(l.used[0].at) > l.opts.DedupWindow {
		l.forget(l.used[0].topicKey, l.used[0].seq)
		l.used = l.used[1:]
	}
	if records := l.records.From(0); l.opts.MaxAge > 0 && len(records) > 0 && now.Sub(records[0].time) > l.opts.MaxAge {
		l.remove(sort.Search(len(records), func(i int) bool { return now.Sub(records[i].time) <= l.opts.MaxAge }))
	}
}

// forget forgets the key of a record. Callers hold mu.
func (l *memoryLog) forget(k topicKey, seq uint64) {
	if l.keys[k] == seq {
		delete(l.keys, k)
	}
}

// remove removes the oldest n records. Callers hold mu.
func (l *memoryLog) remove(n int) {
	for _, rec := range l.records.From(0)[:n] {
		l.uncount(rec)
	}
	l.records = l.records.Drop(n)
}

// uncount takes a record out of the topics and the keys. Callers hold mu.
func (l *memoryLog) uncount(rec *memoryRecord) {
	content := rec.content.Load()
	if content == nil {
		return // it was taken out when it was removed
	}
	l.forget(topicKey{rec.topic, content.key}, rec.seq)
	info := l.topics[rec.topic]
	if info.Count--; info.Count == 0 {
		delete(l.topics, rec.topic)
		l.names.Remove(rec.topic)
		return
	}
	if info.Last.Seq != rec.seq {
		return
	}
	for _, before := range slices.Backward(l.records.From(0)) {
		if before.seq < rec.seq && before.topic == rec.topic && before.content.Load() != nil {
			info.Last, info.Time = l.epochs.Position(before.seq), before.time
			return
		}
	}
}

func (l *memoryLog) Remove(ctx context.Context, seqs []uint64) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, ErrClosed
	}
	l.expire(l.clock.Now())
	n := 0
	for _, seq := range seqs {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		if rec := l.get(seq); rec != nil && rec.content.Load() != nil {
			l.uncount(rec)
			rec.content.Store(nil)
			n++
		}
	}
	return n, nil
}

func (l *memoryLog) RemoveTopic(ctx context.Context, topic string, upTo uint64) (int, error) {
	r, err := l.current()
	if err != nil {
		return 0, err
	}
	var seqs []uint64
	for _, rec := range r.From(0) {
		if rec.topic == topic && rec.seq <= upTo {
			seqs = append(seqs, rec.seq)
		}
	}
	return l.Remove(ctx, seqs)
}

// get returns a retained record, or nil. Callers hold mu.
func (l *memoryLog) get(seq uint64) *memoryRecord {
	if seq < l.records.First() || seq > l.records.Last() {
		return nil
	}
	return l.records.From(seq)[0]
}

// current returns what is retained now.
func (l *memoryLog) current() (ringbuf.Ring[*memoryRecord], error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ringbuf.Ring[*memoryRecord]{}, ErrClosed
	}
	l.expire(l.clock.Now())
	return l.records, nil
}

func (l *memoryLog) State(context.Context) (State, error) {
	r, err := l.current()
	if err != nil {
		return State{}, err
	}
	return State{First: r.First(), Last: r.Last(), Epochs: l.epochs, Generation: memoryGeneration, KeyWindow: l.opts.DedupWindow}, nil
}

// A call of Read looks at no more than mostRead records. Readers look at their context after
// step records, or topics.
const (
	mostRead = 64 << 10
	step     = 512
)

// stopped returns ctx's error, which it asks for now and then while i grows.
func stopped(ctx context.Context, i int) error {
	if i%step == step-1 {
		return ctx.Err()
	}
	return nil
}

func (l *memoryLog) Read(ctx context.Context, q Query) (Batch, error) {
	r, err := l.current()
	b := Batch{Through: q.After}
	if err == nil && q.Generation > memoryGeneration {
		err = ErrReopened
	}
	if err != nil || q.UpTo <= q.After {
		return b, err
	}
	if q.After+1 < r.First() {
		b.Hole, b.Reason = min(r.First()-1, q.UpTo), sse.GapExpired
		b.Through = b.Hole
	}
	bytes := 0
	for i, rec := range r.From(b.Through + 1) {
		if rec.seq > q.UpTo {
			break
		}
		if i == mostRead {
			return b, nil
		}
		if err := stopped(ctx, i); err != nil {
			return Batch{}, err
		}
		if topics.MatchAny(q.Filters, rec.topic) {
			record, ok := rec.record()
			switch {
			case !ok && b.Through > q.After:
				return b, nil // the next batch begins with the hole
			case !ok:
				b.Hole, b.Reason, b.Through = rec.seq, sse.GapRemoved, rec.seq
				return b, nil
			}
			b.Records = append(b.Records, record)
			bytes += len(record.Data)
		}
		b.Through = rec.seq
		if len(b.Records) >= q.MaxRecords || bytes >= q.MaxBytes {
			return b, nil
		}
	}
	b.Through = q.UpTo
	return b, nil
}

// tailBatch is how many records Tail yields at a time.
const tailBatch = 256

func (l *memoryLog) Tail(ctx context.Context, generation, after uint64) iter.Seq2[[]Record, error] {
	return func(yield func([]Record, error) bool) {
		if generation != memoryGeneration {
			yield(nil, ErrReopened)
			return
		}
		for {
			l.mu.Lock()
			records, grown, closed := l.records.From(after+1), l.grown, l.closed
			l.mu.Unlock()
			for part := range slices.Chunk(records, tailBatch) {
				batch := make([]Record, 0, len(part))
				for _, rec := range part {
					if record, ok := rec.record(); ok {
						batch = append(batch, record)
					}
				}
				after = part[len(part)-1].seq
				if ctx.Err() != nil || len(batch) > 0 && !yield(batch, nil) {
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

func (l *memoryLog) At(_ context.Context, t time.Time) (uint64, error) {
	r, err := l.current()
	if err != nil {
		return 0, err
	}
	records := r.From(0)
	t = l.clock.Since(t)
	i := sort.Search(len(records), func(i int) bool { return !records[i].time.Before(t) })
	return r.First() + uint64(i), nil
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
