package logtest

import (
	"context"
	"iter"
	"slices"
	"sync"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// A marked is a log whose marks are checked, and left out: each record must have the same mark
// wherever the log returns it, in an id or in a record.
type marked struct {
	eventlog.Log
	t testing.TB

	mu    sync.Mutex
	marks map[uint64]uint32 // by sequence number
}

func checkMarks(t testing.TB, l eventlog.Log) eventlog.Log {
	return &marked{Log: l, t: t, marks: map[uint64]uint32{}}
}

// see checks the mark of a record.
func (l *marked) see(seq uint64, mark uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.marks[seq]; ok && known != mark || mark > eventlog.MaxMark {
		l.t.Errorf("record %d has the mark %d, and had %d", seq, mark, known)
	}
	l.marks[seq] = mark
}

func (l *marked) id(p eventlog.Position) eventlog.Position {
	l.see(p.Seq, p.Mark)
	p.Mark = 0
	return p
}

func (l *marked) records(records []eventlog.Record) []eventlog.Record {
	records = slices.Clone(records)
	for i := range records {
		l.see(records[i].Seq, records[i].Mark)
		records[i].Mark = 0
	}
	return records
}

func (l *marked) Append(ctx context.Context, messages []eventlog.Message) []eventlog.Appended {
	results := l.Log.Append(ctx, messages)
	for i := range results {
		if results[i].Err == nil {
			results[i].ID = l.id(results[i].ID)
		}
	}
	return results
}

func (l *marked) Read(ctx context.Context, q eventlog.Query) (eventlog.Batch, error) {
	b, err := l.Log.Read(ctx, q)
	b.Records = l.records(b.Records)
	return b, err
}

func (l *marked) Tail(ctx context.Context, generation, after uint64) iter.Seq2[[]eventlog.Record, error] {
	tail := l.Log.Tail(ctx, generation, after)
	return func(yield func([]eventlog.Record, error) bool) {
		for records, err := range tail {
			if !yield(l.records(records), err) {
				return
			}
		}
	}
}

func (l *marked) Topics(ctx context.Context, filter topics.Filter, after string, limit int) ([]eventlog.TopicInfo, error) {
	infos, err := l.Log.Topics(ctx, filter, after, limit)
	for i := range infos {
		infos[i].Last = l.id(infos[i].Last)
	}
	return infos, err
}
