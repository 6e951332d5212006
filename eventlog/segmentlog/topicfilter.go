package segmentlog

import "github.com/cockroachdb/pebble/v2"

// A topicFilter says which topics a bucket of the store may have: of those that it does not
// have, it takes one in a hundred for one that it has. To ask it is much cheaper than to ask
// the store.
type topicFilter []byte

const topicProbes = 7

// newTopicFilter returns a filter for so many topics.
func newTopicFilter(topics int) topicFilter { return make(topicFilter, 8+topics*10/8) } // ten bits each

// each calls do for the places of a topic's bits, until do returns false.
func (f topicFilter) each(topic string, do func(b *byte, bit byte) bool) {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(topic) {
		h = (h ^ uint64(topic[i])) * 1099511628211
	}
	h ^= h >> 32 // its low bits alone are poor
	step := h>>17 | h<<47 | 1
	for range topicProbes {
		n := h % (uint64(len(f)) * 8)
		if !do(&f[n/8], 1<<(n%8)) {
			return
		}
		h += step
	}
}

func (f topicFilter) add(topic string) {
	f.each(topic, func(b *byte, bit byte) bool {
		*b |= bit
		return true
	})
}

func (f topicFilter) has(topic string) bool {
	has := len(f) > 0
	if has {
		f.each(topic, func(b *byte, bit byte) bool {
			has = *b&bit != 0
			return has
		})
	}
	return has
}

// mostFilters is how many bytes of filters are in memory. Those of ten million messages in a
// million topics take 12 MB.
const mostFilters = 16 << 20

// mayHave reports whether a bucket of the store may have a topic.
func (x *index) mayHave(st *store, n uint64, topic string) bool {
	x.mu.RLock()
	f, ok := x.filters[n]
	full := x.filterBytes >= mostFilters
	x.mu.RUnlock()
	if ok || full {
		return !ok || f.has(topic)
	}
	err := st.use(func(db *pebble.DB) (err error) {
		f, err = get(db, bucketKey('b', n, ""))
		return err
	})
	if err != nil || f == nil {
		return true
	}
	x.keepFilter(st, n, f)
	return f.has(topic)
}

// keepFilter keeps the filter of a bucket in memory.
func (x *index) keepFilter(st *store, n uint64, f topicFilter) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.filters[n]; !ok && x.store == st && n < x.applied && n >= bucketOf(x.log.first.Load()) {
		x.filters[n] = f
		x.filterBytes += len(f)
	}
}

// dropFilters forgets the filters of the buckets before a number. Callers hold mu.
func (x *index) dropFilters(before uint64) {
	for n, f := range x.filters {
		if n < before {
			x.filterBytes -= len(f)
			delete(x.filters, n)
		}
	}
}
