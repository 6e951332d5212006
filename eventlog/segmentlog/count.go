package segmentlog

import (
	"context"

	"example.com/tidings/topics"
)

// Count implements [eventlog.Log].
func (l *Log) Count(ctx context.Context, filters []topics.Filter, after uint64) (n, through uint64, err error) {
	if err := l.open(); err != nil {
		return 0, 0, err
	}
	every := matchesAll(filters)
	from := max(after+1, l.first.Load())
	if len(filters) == 1 && !every && after < from-1 {
		if n, through, ok, err := l.countTopics(ctx, filters[0]); ok || err != nil {
			return n, max(after, through), l.ended(err)
		}
	}
	through = l.lastSeq()
	for ; from <= through; from = bucketEnd(from) + 1 {
		upTo := min(bucketEnd(from), through)
		if every {
			if found, ok := l.countAll(from, upTo); ok {
				n += found
				continue
			}
		}
		seqs, err := l.liveIn(ctx, filters, every, from, upTo)
		if err != nil {
			return 0, 0, l.ended(err)
		}
		n += uint64(len(seqs))
	}
	return n, max(after, through), nil
}

// countTopics returns how many records are retained of the topics that a filter matches, and
// the number of the last record. ok is false if records were added meanwhile.
func (l *Log) countTopics(ctx context.Context, filter topics.Filter) (n, through uint64, ok bool, err error) {
	through = l.lastSeq()
	ok, err = l.index.view(ctx, func(v *topicsView) error {
		if filter.Exact() {
			info, err := v.one(filter.String())
			n = info.count
			return err
		}
		return v.each(ctx, filter, "", func(_ string, info topicValue) bool {
			n += info.count
			return true
		})
	})
	return n, through, ok && l.lastSeq() == through, err
}

// countAll returns how many records there are from a number up to another, in one bucket. ok
// is false if that is not known.
func (l *Log) countAll(from, upTo uint64) (n uint64, ok bool) {
	x := l.index
	x.mu.RLock()
	b, removed, whole := x.memory(from), x.removed[bucketOf(from)], x.whole
	x.mu.RUnlock()
	if !whole {
		return 0, false
	}
	n = upTo - from + 1
	if b != nil {
		removed = b.removedPlaces()
	}
	for _, p := range removed {
		if p := int(p); p >= placeOf(from) && p <= placeOf(upTo) {
			n--
		}
	}
	for after := from - 1; after < upTo; {
		limit, err := l.intactUpTo(after, upTo)
		if err != nil {
			return 0, false
		}
		if limit >= upTo {
			break
		}
		h := l.holeAfter(limit, upTo)
		n -= h.last - h.first + 1
		after = h.last
	}
	return n, true
}
