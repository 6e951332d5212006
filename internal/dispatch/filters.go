package dispatch

import (
	"slices"
	"strings"
	"sync"

	"example.com/tidings/internal/budget"
	"example.com/tidings/topics"
)

// A Booking has the filters of one or more streams, and counts what the hub holds for them.
// Streams with the same filters share it.
type Booking struct {
	filters []topics.Filter
	key     string // the same for all streams with the same filters

	// Nil if the filters take no more than those of an ordinary stream.
	ledger *ledger

	refs, cost int // guarded by the ledger's mu
}

// A ledger has the bookings of streams whose filters take more than ordinaryFilters bytes.
type ledger struct {
	budget *budget.Bytes
	shards int // each may hold the same filters

	mu sync.Mutex
	m  map[string]*Booking
}

const (
	// ordinaryFilters is what the filters of a stream may take without a booking: bounds on
	// the number of streams bound that too.
	ordinaryFilters = 2 << 10

	setBytes    = 700 // of a set, beside its filters
	filterBytes = 200 // of a filter, beside its tokens
	tokenBytes  = 48  // of a token that no other filter has at its place
)

// book returns a booking of filters, which has to be released once. It returns nil if the budget
// does not have the bytes. The booking has copies of the strings: those of a request would
// keep all of its URL.
func (l *ledger) book(filters []topics.Filter) *Booking {
	key := filterKey(filters)
	cost := filtersCost(key)
	if cost <= ordinaryFilters {
		return newBooking(key)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.m[key]
	if b == nil {
		b = newBooking(key)
		b.ledger, b.cost = l, cost-ordinaryFilters
	}
	if b.refs < l.shards && !l.budget.Take(b.cost) {
		return nil
	}
	b.refs++
	if b.refs == 1 {
		if l.m == nil {
			l.m = map[string]*Booking{}
		}
		l.m[b.key] = b
	}
	return b
}

// Release gives back what one stream has booked. Any goroutine may call it.
func (b *Booking) Release() {
	if b.ledger == nil {
		return
	}
	l := b.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	b.refs--
	if b.refs < l.shards {
		l.budget.Give(b.cost)
	}
	if b.refs == 0 {
		delete(l.m, b.key)
	}
}

// newBooking returns a booking of the filters with a key.
func newBooking(key string) *Booking {
	b := &Booking{key: strings.Clone(key)}
	b.filters = make([]topics.Filter, 0, 1+strings.Count(key, " "))
	for pattern := range strings.SplitSeq(b.key, " ") {
		b.filters = append(b.filters, topics.MustFilters(pattern)...)
	}
	return b
}

// filterKey returns a string that is the same for all streams with the same filters: the
// patterns in order, with spaces between.
func filterKey(filters []topics.Filter) string {
	if len(filters) == 1 {
		return filters[0].String()
	}
	patterns := make([]string, len(filters))
	for i, f := range filters {
		patterns[i] = f.String()
	}
	slices.Sort(patterns)
	return strings.Join(patterns, " ")
}

// filtersCost returns about how many bytes the filters with a key take: the set and its
// entries, and their part of the index. Filters that follow each other share the tokens that
// they have at the same places.
func filtersCost(key string) int {
	cost, before := setBytes+2*len(key), ""
	for pattern := range strings.SplitSeq(key, " ") {
		cost += filterBytes
		for token := range strings.SplitSeq(pattern, ".") {
			var other string
			if other, before, _ = strings.Cut(before, "."); token != other {
				cost += tokenBytes
			}
		}
		before = pattern
	}
	return cost
}
