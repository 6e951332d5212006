package segmentlog

import (
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"example.com/tidings/topics"
)

// The index divides numbers into buckets of 2^16.
const (
	bucketBits = 16
	bucketSize = 1 << bucketBits
)

func bucketOf(seq uint64) uint64   { return seq >> bucketBits }
func bucketStart(n uint64) uint64  { return n << bucketBits }
func bucketEnd(seq uint64) uint64  { return seq | (bucketSize - 1) }
func placeOf(seq uint64) int       { return int(seq & (bucketSize - 1)) }
func seqOf(n uint64, p int) uint64 { return bucketStart(n) + uint64(p) }

// A bucket is the index of the records of one bucket, in memory. Its methods may be called
// concurrently.
type bucket struct {
	n     uint64
	named atomic.Int64 // len(topics): a publisher does not wait for mu

	mu     sync.RWMutex
	from   uint64 // it has the records from here on
	holed  bool   // some records could not be read when it was made
	byName map[string]uint32
	topics []bucketTopic // by id
	places []uint32      // what is at a place: the id of the record's topic + 1, and removedPlace; or 0
	low    int           // records before this place have expired, and are not counted
	sorted []uint32      // ids by name; the newest ids may be missing
}

// removedPlace says that the record at a place was removed.
const removedPlace = 1 << 31

type bucketTopic struct {
	name  string
	count uint32 // records that are neither removed nor expired
	last  int32  // the place of the newest of them, or -1
	nanos int64  // its time
}

func newBucket(n, from uint64) *bucket {
	return &bucket{n: n, from: from, byName: map[string]uint32{}}
}

// add adds a record. Callers hold mu, or are alone.
func (b *bucket) add(seq uint64, nanos int64, topic string, removed bool) {
	id, ok := b.byName[topic]
	if !ok {
		id = uint32(len(b.topics))
		topic = strings.Clone(topic)
		b.byName[topic] = id
		b.topics = append(b.topics, bucketTopic{name: topic, last: -1})
		b.named.Store(int64(len(b.topics)))
	}
	p := placeOf(seq)
	if p >= len(b.places) {
		b.places = slices.Grow(b.places, p+1-len(b.places))[:p+1]
	}
	b.places[p] = id + 1
	switch t := &b.topics[id]; {
	case removed:
		b.places[p] |= removedPlace
	case p >= b.low:
		t.count++
		if int32(p) > t.last {
			t.last, t.nanos = int32(p), nanos
		}
	}
}

// prepend adds the records of a bucket that ends where b begins.
func (b *bucket) prepend(before *bucket) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for p, v := range before.places {
		if v != 0 {
			t := &before.topics[v&^removedPlace-1]
			b.add(seqOf(b.n, p), t.nanos, t.name, v&removedPlace != 0)
		}
	}
	b.from, b.holed = before.from, b.holed || before.holed
}

// expire takes the records before a number out of the counts.
func (b *bucket) expire(first uint64) {
	low := 0
	switch n := bucketOf(first); {
	case n == b.n:
		low = placeOf(first)
	case n > b.n:
		low = bucketSize
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for ; b.low < low; b.low++ {
		if b.low < len(b.places) {
			b.uncount(b.low)
		}
	}
}

// uncount takes a record out of the counts. Callers hold mu.
func (b *bucket) uncount(p int) {
	v := b.places[p]
	if v == 0 || v&removedPlace != 0 {
		return
	}
	t := &b.topics[v-1]
	if t.count--; t.count == 0 {
		t.last = -1
		return
	}
	if int32(p) == t.last { // it was removed: those before are not expired
		for p--; b.places[p] != v; p-- {
		}
		t.last = int32(p)
	}
}

// remove notes that a record was removed. nanos returns the time of a record.
func (b *bucket) remove(seq uint64, nanos func(seq uint64) int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := placeOf(seq)
	if p >= len(b.places) || b.places[p] == 0 || b.places[p]&removedPlace != 0 {
		return
	}
	if p >= b.low {
		t := &b.topics[b.places[p]-1]
		last := t.last
		b.uncount(p)
		if t.last != last && t.last >= 0 {
			t.nanos = nanos(seqOf(b.n, int(t.last)))
		}
	}
	b.places[p] |= removedPlace
}

// topic returns what the bucket knows of a topic.
func (b *bucket) topic(name string) (t bucketTopic, ok bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	id, ok := b.byName[name]
	if !ok {
		return bucketTopic{}, false
	}
	t = b.topics[id]
	return t, t.count > 0
}

// find returns the numbers from one up to another, in the bucket, of the records that the
// filters match. live leaves removed ones out. It holds no lock while it matches: the writer
// would wait.
func (b *bucket) find(filters []topics.Filter, from, upTo uint64, live bool) []uint64 {
	b.mu.RLock()
	named := b.topics // names never change
	set := make([]bool, len(named))
	begin := placeOf(from)
	var places []uint32
	if end := min(placeOf(upTo), len(b.places)-1); begin <= end {
		places = slices.Clone(b.places[begin : end+1])
	}
	any := false
	for _, f := range filters {
		if f.Exact() {
			if id, ok := b.byName[f.String()]; ok {
				set[id], any = true, true
			}
		}
	}
	b.mu.RUnlock()
	if match(named, filters, set) {
		any = true
	}
	if !any {
		return nil
	}
	var seqs []uint64
	for i, v := range places {
		if v == 0 || v&removedPlace != 0 && live {
			continue
		}
		if set[v&^removedPlace-1] {
			seqs = append(seqs, seqOf(b.n, begin+i))
		}
	}
	return seqs
}

// match adds the topics that one of the filters with wildcards matches to a set. It reports
// whether there is any.
func match(named []bucketTopic, filters []topics.Filter, set []bool) (any bool) {
	for _, f := range filters {
		if f.Exact() {
			continue
		}
		prefix := literalPrefix(f)
		for id := range named {
			if name := named[id].name; !set[id] && strings.HasPrefix(name, prefix) && f.Match(name) {
				set[id], any = true, true
			}
		}
	}
	return any
}

// literalPrefix returns what every topic begins with that a filter matches.
func literalPrefix(f topics.Filter) string {
	prefix, _, _ := strings.Cut(f.String(), "*")
	return prefix
}

// sort returns the ids of the bucket's topics in the order of their names. It holds no lock
// while it sorts: the writer would wait.
func (b *bucket) sort() []uint32 {
	b.mu.RLock()
	named, old := b.topics, b.sorted // names never change, nor do ids once they are in sorted
	b.mu.RUnlock()
	if len(old) == len(named) {
		return old
	}
	added := make([]uint32, 0, len(named)-len(old))
	for id := len(old); id < len(named); id++ {
		added = append(added, uint32(id))
	}
	compare := func(x, y uint32) int { return strings.Compare(named[x].name, named[y].name) }
	slices.SortFunc(added, compare)
	all := make([]uint32, 0, len(named))
	for len(old) > 0 && len(added) > 0 {
		next := &old
		if compare(added[0], old[0]) < 0 {
			next = &added
		}
		all = append(all, (*next)[0])
		*next = (*next)[1:]
	}
	all = append(append(all, old...), added...)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.sorted) < len(all) {
		b.sorted = all
	}
	return all
}

// namesFrom returns an iterator over the names of the bucket's topics, from one on.
func (b *bucket) namesFrom(low string) func() (string, bool) {
	ids := b.sort()
	b.mu.RLock()
	defer b.mu.RUnlock()
	topics := b.topics // names never change, and ids has no newer one
	i := sort.Search(len(ids), func(i int) bool { return topics[ids[i]].name >= low })
	return func() (string, bool) {
		if i == len(ids) {
			return "", false
		}
		i++
		return topics[ids[i-1]].name, true
	}
}

// postings returns the places of each topic's records, by id, ascending. Those that have
// expired are left out. Nobody adds to the bucket any more. Callers
// hold mu.
func (b *bucket) postings() [][]uint16 {
	counts := make([]int, len(b.topics))
	n := 0
	for p := b.low; p < len(b.places); p++ {
		if v := b.places[p] &^ removedPlace; v != 0 {
			counts[v-1]++
			n++
		}
	}
	all, lists := make([]uint16, n), make([][]uint16, len(b.topics))
	for id, c := range counts {
		lists[id], all = all[:0:c], all[c:]
	}
	for p := b.low; p < len(b.places); p++ {
		if v := b.places[p] &^ removedPlace; v != 0 {
			lists[v-1] = append(lists[v-1], uint16(p))
		}
	}
	return lists
}

// removedPlaces returns the places of the removed records that have not expired, ascending.
func (b *bucket) removedPlaces() []uint16 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.removedHeld()
}

// removedHeld is removedPlaces for callers that hold mu.
func (b *bucket) removedHeld() []uint16 {
	var places []uint16
	for p := b.low; p < len(b.places); p++ {
		if b.places[p]&removedPlace != 0 {
			places = append(places, uint16(p))
		}
	}
	return places
}

// isRemoved reports whether the record at a place was removed.
func (b *bucket) isRemoved(p int) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return p < len(b.places) && b.places[p]&removedPlace != 0
}

// hasPlace reports whether ascending places have one.
func hasPlace(places []uint16, p int) bool {
	_, ok := slices.BinarySearch(places, uint16(p))
	return ok
}
