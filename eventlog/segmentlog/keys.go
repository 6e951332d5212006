package segmentlog

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/yield"
)

// A keyed is a key that was used on a topic, the content of the message, and its record.
type keyed struct {
	hash    keyHash
	content uint64 // a hash of the type and the data
	seq     uint64 // 0 if there is no record
	nanos   int64

	stored  *keyed // what prepare has found in the store, or nil
	version uint64 // of the store, when prepare looked
}

// A keyHash identifies a key on a topic.
type keyHash [16]byte

// hashKey returns the hash of a key on a topic.
func hashKey(topic, key string) keyHash {
	var space [1 + 255 + 255]byte
	b := append(space[:0], byte(len(topic)))
	b = append(append(b, topic...), key...)
	sum := sha256.Sum256(b)
	return keyHash(sum[:16])
}

// hashContent returns the hash of a type and of data.
func hashContent(typ, data string) uint64 {
	h := sha256.New()
	h.Write([]byte{byte(len(typ))})
	h.Write([]byte(typ))
	h.Write([]byte(data))
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// The store has keys in chunks: those that were used one after the other. Chunks expire
// whole. Each has a filter in memory, as long as there is room for it.
const (
	chunkKeys  = 1 << 19
	mostKeys   = 1 << 15                // that wait for the store
	mostChunks = 64 << 20 / filterBytes // with a filter
)

// A chunk is what is known of a chunk of keys.
type chunk struct {
	id          uint32
	n           int
	first, last int64   // times
	filter      *filter // nil if there is no room for it
}

// keys remembers the keys of records. The writer's goroutine uses it, appenders, and the
// goroutine of the index.
type keys struct {
	index *index

	mu      sync.RWMutex
	recent  map[keyHash]keyed // those that are not in the store
	pending []keyed           // of them, those whose record is written, in order
	through uint64            // the last record whose key may be in pending
	version uint64            // grows when keys go to the store
	chunks  []*chunk          // of the store, the oldest first
	stored  int               // how many keys the chunks have
	twice   int               // of them, those that will leave recent soon
	ready   chan struct{}     // closed while every key is known
	whole   bool              // ready is closed
}

func newKeys(x *index) *keys {
	return &keys{index: x, recent: map[keyHash]keyed{}, ready: make(chan struct{})}
}

// About what it costs to hash a key, to look one up, and to add it to a batch.
const (
	hashNanos   = 500
	putNanos    = 1000
	lookupNanos = 3000
)

// prepare looks the keys of a request up, so that the writer need not. It waits until every
// key is known.
func (k *keys) prepare(ctx context.Context, r *request) error {
	found := false
	work := yield.In(k.index.lane)
	defer work.Pause()
	for i := range r.messages {
		if m := &r.messages[i]; m.Key != "" {
			work.Did(hashNanos + len(m.Data))
			if !found {
				found = true
				r.keys = slices.Grow(r.keys[:0], len(r.messages))[:len(r.messages)]
			}
			r.keys[i] = keyed{hash: hashKey(m.Topic, m.Key), content: hashContent(m.Type, m.Data)}
		}
	}
	for found {
		work.Pause()
		if err := k.await(ctx); err != nil {
			return err
		}
		failed := false
		for i := range r.messages {
			if r.messages[i].Key == "" {
				continue
			}
			p := &r.keys[i]
			k.mu.RLock()
			p.version = k.version
			k.mu.RUnlock()
			var err error
			work.Did(lookupNanos)
			if p.stored, err = k.lookup(p.hash); err != nil {
				failed = true
				break
			}
		}
		if !failed {
			return nil
		}
		// The store has failed. It is made again.
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// await waits until every key is known.
func (k *keys) await(ctx context.Context) error {
	k.mu.RLock()
	ready := k.ready
	k.mu.RUnlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-k.index.log.failing:
		return k.index.log.Err()
	case <-k.index.log.closing.Done():
		return eventlog.ErrClosed
	}
}

// lookup returns the newest record in the store that had a key, or nil.
func (k *keys) lookup(hash keyHash) (*keyed, error) {
	k.mu.RLock()
	chunks := k.chunks
	k.mu.RUnlock()
	for _, c := range slices.Backward(chunks) {
		if c.filter != nil && !c.filter.has(hash) {
			continue
		}
		k.index.mu.RLock()
		st := k.index.store
		k.index.mu.RUnlock()
		var v []byte
		err := st.use(func(db *pebble.DB) (err error) {
			v, err = get(db, keyKey(c.id, hash))
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(v) == 24 {
			return &keyed{hash: hash, seq: binary.BigEndian.Uint64(v), nanos: int64(binary.BigEndian.Uint64(v[8:])), content: binary.BigEndian.Uint64(v[16:])}, nil
		}
	}
	return nil, nil
}

// used returns the record that has used a key, if that counts still. It fails if not every
// key is known: then prepare has to look again. The writer calls it.
func (k *keys) used(key keyed, now time.Time) (keyed, error) {
	k.mu.RLock()
	first, ok := k.recent[key.hash]
	version, whole := k.version, k.whole
	k.mu.RUnlock()
	if !whole {
		return keyed{}, errStore
	}
	if !ok {
		stored := key.stored
		if version != key.version {
			var err error
			if stored, err = k.lookup(key.hash); err != nil {
				return keyed{}, err
			}
			if !k.unchanged(version) { // the store may have gone meanwhile
				return keyed{}, errStore
			}
		}
		if stored == nil {
			return keyed{}, nil
		}
		first = *stored
	}
	log := k.index.log
	if first.seq < log.first.Load() || nanosOf(now)-first.nanos > int64(log.opts.DedupWindow) || k.index.isRemoved(first.seq) {
		return keyed{}, nil
	}
	return first, nil
}

// unchanged reports whether the keys in the store are those of a version.
func (k *keys) unchanged(version uint64) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.version == version
}

// count returns how many keys are remembered.
func (k *keys) count() int {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return len(k.recent) + k.stored - k.twice
}

// setChunks sets the chunks of the store. The goroutine of the index calls it, with mu held.
func (k *keys) setChunks(chunks []*chunk) {
	k.chunks, k.stored = chunks, 0
	for _, c := range chunks {
		k.stored += c.n
	}
}

// remember remembers a key that the writer is about to write.
func (k *keys) remember(key keyed) {
	key.stored = nil
	k.mu.Lock()
	defer k.mu.Unlock()
	k.recent[key.hash] = key
}

// forget forgets keys whose records could not be written.
func (k *keys) forget(failed []keyed) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range failed {
		delete(k.recent, key.hash)
	}
}

// add notes that records up to a number are written, and their keys.
func (k *keys) add(written []keyed, through uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pending = append(k.pending, written...)
	k.through = through
	if len(k.pending) > mostKeys {
		k.index.signal()
	}
}

// remove forgets the keys of records that were removed.
func (k *keys) remove(records []removedRecord) {
	for _, r := range records {
		if r.key == "" {
			continue
		}
		hash := hashKey(r.topic, r.key)
		k.mu.Lock()
		if k.recent[hash].seq == r.seq {
			delete(k.recent, hash)
		}
		k.pending = slices.DeleteFunc(k.pending, func(p keyed) bool { return p.seq == r.seq })
		chunks := k.chunks
		k.mu.Unlock()
		for _, c := range chunks {
			if c.filter == nil || c.filter.has(hash) {
				// A key that has expired may have been used again.
				_ = k.index.store.use(func(db *pebble.DB) error {
					v, err := get(db, keyKey(c.id, hash))
					if err != nil || len(v) != 24 || binary.BigEndian.Uint64(v) != r.seq {
						return err
					}
					return db.Delete(keyKey(c.id, hash), pebble.NoSync)
				})
			}
		}
	}
}

// waiting returns how many keys wait for the store.
func (k *keys) waiting() int {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return len(k.pending)
}

// put adds the keys that wait to a batch, and returns them. The goroutine of the index calls
// it, and then flushed.
func (k *keys) put(batch *pebble.Batch, meta *storeMeta) ([]keyed, error) {
	k.mu.Lock()
	pending, through := k.pending, k.through
	k.pending = nil
	if k.whole {
		meta.keys = max(meta.keys, through)
	}
	k.mu.Unlock()
	work := yield.In(k.index.lane)
	defer work.Pause()
	for i := range pending {
		work.Did(putNanos)
		key := &pending[i]
		c, err := k.chunk(batch, key.nanos, meta)
		if err != nil {
			return pending, err
		}
		c.n++
		c.last = max(c.last, key.nanos)
		if c.filter != nil {
			c.filter.add(key.hash)
		}
		value := binary.BigEndian.AppendUint64(make([]byte, 0, 24), key.seq)
		value = binary.BigEndian.AppendUint64(value, uint64(key.nanos))
		value = binary.BigEndian.AppendUint64(value, key.content)
		if err := batch.Set(keyKey(c.id, key.hash), value, nil); err != nil {
			return pending, err
		}
	}
	if len(pending) == 0 {
		return nil, nil
	}
	return pending, k.chunks[len(k.chunks)-1].put(batch, false)
}

// chunk returns the chunk for a key that was used at a time.
func (k *keys) chunk(batch *pebble.Batch, nanos int64, meta *storeMeta) (*chunk, error) {
	if n := len(k.chunks); n > 0 {
		c := k.chunks[n-1]
		if c.n < chunkKeys && nanos-c.first < int64(k.index.log.opts.DedupWindow)/8 {
			return c, nil
		}
		if err := c.put(batch, true); err != nil {
			return nil, err
		}
	}
	meta.chunk++
	c := &chunk{id: meta.chunk, first: nanos, filter: new(filter)}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.chunks = append(slices.Clone(k.chunks), c)
	if n := len(k.chunks); n > mostChunks {
		old := *k.chunks[n-1-mostChunks]
		old.filter = nil
		k.chunks[n-1-mostChunks] = &old
	}
	return c, nil
}

// flushed notes that keys are in the store.
func (k *keys) flushed(stored []keyed) {
	if len(stored) == 0 {
		return
	}
	k.mu.Lock()
	k.version++
	k.setChunks(k.chunks)
	k.twice = len(stored)
	k.mu.Unlock()
	for some := range slices.Chunk(stored, forgottenAtOnce) {
		k.forgetStored(some)
	}
}

// forgottenAtOnce is how many keys are forgotten at a time: the writer and the appenders wait for that.
const forgottenAtOnce = 256

// forgetStored forgets some of the keys that are in the store.
func (k *keys) forgetStored(some []keyed) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.twice -= len(some)
	for i := range some {
		if k.recent[some[i].hash].seq == some[i].seq {
			delete(k.recent, some[i].hash)
		}
	}
}

// expire removes the chunks whose keys no longer count.
func (k *keys) expire() error {
	oldest := nanosOf(k.index.log.clock.Now().Add(-k.index.log.opts.DedupWindow))
	n := 0
	for n < len(k.chunks) && k.chunks[n].last < oldest {
		n++
	}
	if n == 0 {
		return nil
	}
	expired := k.chunks[:n]
	k.mu.Lock()
	k.setChunks(k.chunks[n:])
	k.mu.Unlock()
	return k.index.store.use(func(db *pebble.DB) error {
		next := expired[n-1].id + 1
		if err := db.DeleteRange(keyKey(0, keyHash{}), keyKey(next, keyHash{}), pebble.NoSync); err != nil {
			return err
		}
		return db.DeleteRange(chunkKey(0), chunkKey(next), pebble.NoSync)
	})
}

// open reads the chunks of a store.
func (k *keys) open(st *store, meta *storeMeta) error {
	var chunks []*chunk
	err := st.use(func(db *pebble.DB) error {
		err := each(db, []byte("f"), []byte("g"), func(key, value []byte) error {
			if c, ok := decodeChunk(key, value); ok {
				chunks = append(chunks, c)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i, c := range chunks {
			switch {
			case i < len(chunks)-mostChunks:
				c.filter = nil
			case c.filter == nil:
				if err := c.fill(db); err != nil {
					return err
				}
			}
		}
		return nil
	})
	k.mu.Lock()
	defer k.mu.Unlock()
	k.setChunks(chunks)
	k.version++
	return err
}

// complete reports whether every key is known.
func (k *keys) complete() bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.whole
}

// unready notes that the store is gone.
func (k *keys) unready() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.setChunks(nil)
	k.version++
	if k.whole {
		k.whole, k.ready = false, make(chan struct{})
	}
}

// rebuildKeys finds the keys of records that are not in the store, as far as they still
// count. Without a store it keeps them in memory.
func (x *index) rebuildKeys() error {
	k, log := x.keys, x.log
	last := log.lastSeq()
	oldest := nanosOf(log.clock.Now().Add(-log.opts.DedupWindow))
	from, _, err := log.firstSince(oldest, max(x.meta.keys+1, log.first.Load()), last)
	if err != nil {
		return err
	}
	// What this process has written is in recent, but for what went to a store that failed.
	var found []keyed
	add := func() error {
		k.mu.Lock()
		for i := range found {
			if old, ok := k.recent[found[i].hash]; !ok || old.seq < found[i].seq {
				k.recent[found[i].hash] = found[i]
			}
		}
		k.pending = append(found, k.pending...)
		k.mu.Unlock()
		found = nil
		if x.store == nil {
			return nil // they stay in memory until there is a store
		}
		return x.flushKeys()
	}
	err = log.scan(log.closing, from, last, func(f *frame) {
		if f.key == 0 || f.removed() || f.hidden() || err != nil {
			return
		}
		m := f.message()
		found = append(found, keyed{hash: hashKey(m.Topic, m.Key), content: hashContent(m.Type, m.Data), seq: f.seq, nanos: f.nanos})
		if len(found) > mostKeys {
			err = add()
		}
	})
	if e := add(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.whole = true
	k.through = max(k.through, last)
	close(k.ready)
	return nil
}
