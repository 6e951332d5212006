package segmentlog

import (
	"slices"
	"sort"
)

// A span is a range of numbers.
type span struct{ first, last uint64 }

// Spans are ranges of numbers, ascending. No two of them overlap or touch.
type spans []span

// after returns the first span that ends after a number.
func (s spans) after(n uint64) (span, bool) {
	i := sort.Search(len(s), func(i int) bool { return s[i].last > n })
	if i == len(s) {
		return span{}, false
	}
	return s[i], true
}

// has reports whether the spans have all numbers of another one.
func (s spans) has(h span) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].last >= h.first })
	return i < len(s) && s[i].first <= h.first && s[i].last >= h.last
}

// add returns the spans with another one, joined to those that it overlaps or touches. It
// may change s in place.
func (s spans) add(h span) spans {
	i := sort.Search(len(s), func(i int) bool { return s[i].last+1 >= h.first })
	j := i
	for ; j < len(s) && s[j].first <= h.last+1; j++ {
		h.first, h.last = min(h.first, s[j].first), max(h.last, s[j].last)
	}
	return slices.Replace(s, i, j, h)
}

// within returns the parts of the spans that lie in another one.
func (s spans) within(h span) (parts spans) {
	for _, p := range s {
		if p.first, p.last = max(p.first, h.first), min(p.last, h.last); p.first <= p.last {
			parts = append(parts, p)
		}
	}
	return parts
}

// count returns how many numbers the spans have.
func (s spans) count() (n uint64) {
	for _, h := range s {
		n += h.last - h.first + 1
	}
	return n
}
