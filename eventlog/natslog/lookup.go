package natslog

import (
	"context"
	"errors"
	"iter"
	"math"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// records returns the sequence of the records that the filters match, by reading. An error
// ends it.
func (l *Log) records(ctx context.Context, g *generation, filters []topics.Filter, after, upTo uint64) iter.Seq2[eventlog.Record, error] {
	return func(yield func(eventlog.Record, error) bool) {
		for after < upTo {
			b, err := l.read(ctx, g, eventlog.Query{Filters: filters, After: after, UpTo: upTo, MaxRecords: scanMost, MaxBytes: 4 << 20})
			if err != nil {
				yield(eventlog.Record{}, err)
				return
			}
			for _, r := range b.Records {
				if !yield(r, nil) {
					return
				}
			}
			after = b.Through
		}
	}
}

// Back implements [eventlog.Log].
func (l *Log) Back(ctx context.Context, filters []topics.Filter, n int, upTo uint64) (after uint64, err error) {
	defer l.ended(&err)
	g := l.now.Load()
	first, _, err := l.bounds(ctx)
	if err != nil {
		return 0, err
	}
	found := 0
	// It reads backwards in ever larger windows.
	for width := uint64(max(64, 2*min(n, math.MaxInt32))); upTo >= first && upTo > 0; width *= 2 {
		from := first - 1
		if upTo-from > width {
			from = upTo - width
		}
		var seqs []uint64
		for r, err := range l.records(ctx, g, filters, from, upTo) {
			if err != nil {
				return 0, err
			}
			seqs = append(seqs, r.Seq)
		}
		if found += len(seqs); found >= n {
			return seqs[found-n] - 1, nil
		}
		upTo = from
	}
	return 0, nil
}

// At implements [eventlog.Log]. The times are those of the server's clock.
func (l *Log) At(ctx context.Context, t time.Time) (seq uint64, err error) {
	defer l.ended(&err)
	first, last, err := l.bounds(ctx)
	if err != nil {
		return 0, err
	}
	all := l.names.everything()
	seq = last + 1
	// The record at mid may be missing, so each step asks for the first from there on.
	for low, high := first, last+1; low < high; {
		mid := low + (high-low)/2
		r, err := l.next(ctx, all, mid)
		switch {
		case errors.Is(err, eventlog.ErrNotFound):
			high = mid
		case err != nil:
			return 0, err
		case r.Time.Before(t):
			low = r.Seq + 1
		default:
			seq, high = r.Seq, mid
		}
	}
	return seq, nil
}

// Count implements [eventlog.Log]. It reads the records that it counts.
func (l *Log) Count(ctx context.Context, filters []topics.Filter, after uint64) (n, through uint64, err error) {
	defer l.ended(&err)
	g := l.now.Load()
	_, last, err := l.bounds(ctx)
	if err != nil {
		return 0, after, err
	}
	for _, err := range l.records(ctx, g, filters, after, last) {
		if err != nil {
			return 0, after, err
		}
		n++
	}
	return n, max(last, after), nil
}
