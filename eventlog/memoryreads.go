package eventlog

import (
	"context"
	"maps"
	"slices"
	"strings"

	"example.com/tidings/topics"
)

// A call of Newest looks at no more than so many topics, or records.
const (
	newestTopics  = 4096
	newestRecords = 4096
)

// Newest looks at the topics if there are few, and otherwise at the records. It matches without
// the lock.
func (l *memoryLog) Newest(ctx context.Context, filters []topics.Filter, after, upTo uint64, limit int) ([]uint64, uint64, error) {
	r, err := l.current()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, 0, err
	}
	if upTo <= after {
		return nil, after, nil
	}
	if seqs, ok := l.newestByTopic(filters, after, upTo); ok {
		if len(seqs) <= limit {
			return seqs, upTo, nil
		}
		return seqs[:limit], seqs[limit-1], nil
	}
	var matching []*memoryRecord
	through := upTo
	for i, rec := range r.From(after + 1) {
		if rec.seq > upTo {
			break
		}
		if i == newestRecords {
			through = rec.seq - 1
			break
		}
		if err := stopped(ctx, i); err != nil {
			return nil, 0, err
		}
		if topics.MatchAny(filters, rec.topic) {
			matching = append(matching, rec)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var seqs []uint64
	for _, rec := range matching {
		if info := l.topics[rec.topic]; info == nil || info.Last.Seq != rec.seq {
			continue
		}
		if seqs = append(seqs, rec.seq); len(seqs) == limit {
			return seqs, rec.seq, nil
		}
	}
	return seqs, through, nil
}

// newestByTopic returns what Newest does, without a limit. ok is false if there are too
// many topics.
func (l *memoryLog) newestByTopic(filters []topics.Filter, after, upTo uint64) (seqs []uint64, ok bool) {
	found := map[uint64]bool{} // several filters may match a topic
	add := func(info TopicInfo) {
		if info.Last.Seq > after && info.Last.Seq <= upTo {
			found[info.Last.Seq] = true
		}
	}
	if !slices.ContainsFunc(filters, func(f topics.Filter) bool { return !f.Exact() }) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, f := range filters {
			if info := l.topics[f.String()]; info != nil {
				add(*info)
			}
		}
		return slices.Sorted(maps.Keys(found)), true
	}
	infos, ok := l.fewTopics()
	for _, info := range infos {
		if topics.MatchAny(filters, info.Topic) {
			add(info)
		}
	}
	return slices.Sorted(maps.Keys(found)), ok
}

// fewTopics returns all topics, or false if they are many.
func (l *memoryLog) fewTopics() (infos []TopicInfo, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.topics) > newestTopics {
		return nil, false
	}
	infos = make([]TopicInfo, 0, len(l.topics))
	for _, info := range l.topics {
		infos = append(infos, *info)
	}
	return infos, true
}

func (l *memoryLog) Back(ctx context.Context, filters []topics.Filter, n int, upTo uint64) (uint64, error) {
	r, err := l.current()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return 0, err
	}
	for i, rec := range slices.Backward(r.From(0)) {
		if err := stopped(ctx, i); err != nil {
			return 0, err
		}
		if rec.seq <= upTo && topics.MatchAny(filters, rec.topic) && rec.content.Load() != nil {
			if n--; n == 0 {
				return rec.seq - 1, nil
			}
		}
	}
	return 0, nil
}

func (l *memoryLog) Count(ctx context.Context, filters []topics.Filter, after uint64) (n, through uint64, err error) {
	r, err := l.current()
	if err != nil {
		return 0, 0, err
	}
	for i, rec := range r.From(after + 1) {
		if err := stopped(ctx, i); err != nil {
			return 0, 0, err
		}
		if topics.MatchAny(filters, rec.topic) && rec.content.Load() != nil {
			n++
		}
	}
	return n, max(after, r.Last()), nil
}

// Topics goes through the names in steps, and holds the lock for one step.
func (l *memoryLog) Topics(ctx context.Context, filter topics.Filter, after string, limit int) ([]TopicInfo, error) {
	if filter.Exact() {
		if after >= filter.String() {
			limit = 0
		}
		return l.infos([]string{filter.String()}, filter, nil, limit)
	}
	prefix, _, _ := strings.Cut(filter.String(), "*") // no topic itself
	after = max(after, prefix)
	var found []TopicInfo
	for names := make([]string, 0, step); ; {
		names = l.namesAfter(names[:0], after)
		var err error
		if found, err = l.infos(names, filter, found, limit); err != nil {
			return nil, err
		}
		if len(names) < step || len(found) == limit || !strings.HasPrefix(names[step-1], prefix) {
			return found, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		after = names[step-1]
	}
}

// namesAfter appends the names of the next topics.
func (l *memoryLog) namesAfter(names []string, after string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.names.After(names, after, step)
}

// infos appends the topics with some names that the filter matches, until there are limit.
func (l *memoryLog) infos(names []string, filter topics.Filter, found []TopicInfo, limit int) ([]TopicInfo, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	l.expire(l.clock.Now())
	for _, name := range names {
		if len(found) == limit {
			break
		}
		if info := l.topics[name]; info != nil && filter.Match(name) {
			found = append(found, *info)
		}
	}
	return found, nil
}
