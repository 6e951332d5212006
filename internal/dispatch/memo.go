package dispatch

import (
	"strings"

	"example.com/tidings/topics"
)

// A memo has what some topics matched. It has only topics that take long to match, so that a
// topic of an ordinary hub takes no memory. It is bounded, and forgets everything when it is
// full.
type memo struct {
	m    map[string][]*filterSet
	sets int // in all lists
}

// The bounds of a memo. It takes some 3 MB at most.
const (
	memoSteps  = 512 // what takes fewer steps is not remembered
	memoTopics = 4096
	memoSets   = 1 << 18
)

func (m *memo) remember(topic string, sets []*filterSet) {
	if len(sets) > memoSets/4 {
		return
	}
	if len(m.m) == memoTopics || m.sets+len(sets) > memoSets {
		*m = memo{}
	}
	if m.m == nil {
		m.m = map[string][]*filterSet{}
	}
	m.m[strings.Clone(topic)] = append([]*filterSet(nil), sets...)
	m.sets += len(sets)
}

// forget forgets the topics that some filters match. A filter with a wildcard makes it forget
// all.
func (m *memo) forget(filters []topics.Filter) {
	if len(m.m) == 0 {
		return
	}
	for _, f := range filters {
		if !f.Exact() {
			*m = memo{}
			return
		}
		m.sets -= len(m.m[f.String()])
		delete(m.m, f.String())
	}
}

// A table is a map that becomes smaller again. (A map never does.) Callers read m.
type table[K comparable, V any] struct {
	m    map[K]V
	most int // the most entries since m was made
}

// tableKept is how many entries a table has room for without becoming smaller.
const tableKept = 4096

func (t *table[K, V]) put(key K, value V) {
	if t.m == nil {
		t.m = map[K]V{}
	}
	t.m[key] = value
	t.most = max(t.most, len(t.m))
}

func (t *table[K, V]) remove(key K) {
	delete(t.m, key)
	if t.most > tableKept && len(t.m) < t.most/8 {
		smaller := make(map[K]V, len(t.m))
		for key, value := range t.m {
			smaller[key] = value
		}
		t.m, t.most = smaller, len(smaller)
	}
}
