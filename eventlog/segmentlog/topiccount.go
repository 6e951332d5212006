package segmentlog

import (
	"encoding/binary"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"example.com/tidings/topics"
)

// topicsKey is the key of how many topics the store has.
var topicsKey = []byte("n")

// countTopics finds how many topics a store has. One that another version wrote does not say.
func (x *index) countTopics(st *store) error {
	return st.use(func(db *pebble.DB) error {
		value, err := get(db, topicsKey)
		if err != nil {
			return err
		}
		n, size := binary.Uvarint(value)
		if size <= 0 {
			n = 0
			err = each(db, []byte("t"), []byte("u"), func(_, _ []byte) error { n++; return nil })
		}
		x.topics.Store(int64(n))
		return err
	})
}

// addTopics notes that a batch adds topics to the store, or removes some.
func (x *index) addTopics(batch *pebble.Batch, more int64) error {
	if more == 0 {
		return nil
	}
	return batch.Set(topicsKey, binary.AppendUvarint(nil, uint64(max(0, x.topics.Add(more)))), nil)
}

// topicBound returns about how many topics have a retained record: at least as many as have
// one. Topics of the buckets in memory may be in the store, too.
func (x *index) topicBound(buckets []*bucket) int {
	n := int(x.topics.Load())
	for _, b := range buckets {
		n += int(b.named.Load())
	}
	return n
}

// admit marks the messages of a request for whose topics there is no room.
func (x *index) admit(r *request) {
	x.mu.RLock()
	st := x.store
	buckets := append(x.sealed[:len(x.sealed):len(x.sealed)], x.open)
	x.mu.RUnlock()
	left := x.log.opts.MaxTopics - x.topicBound(buckets)
	if left >= len(r.messages) {
		return
	}
	added := map[string]bool{}
	for i := range r.messages {
		topic := r.messages[i].Topic
		if added[topic] || strings.HasPrefix(topic, topics.ReservedPrefix) || hasTopic(st, buckets, topic) {
			continue
		}
		if len(added) < left {
			added[topic] = true
			continue
		}
		if r.full == nil {
			r.full = make([]bool, len(r.messages))
		}
		r.full[i] = true
	}
}

// hasTopic reports whether a topic has a record, as far as that is known.
func hasTopic(st *store, buckets []*bucket, topic string) bool {
	for _, b := range buckets {
		if _, ok := b.topic(topic); ok {
			return true
		}
	}
	var value []byte
	err := st.use(func(db *pebble.DB) (err error) {
		value, err = get(db, append([]byte("t"), topic...))
		return err
	})
	return err == nil && value != nil
}
