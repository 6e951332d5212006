package natslog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

const (
	newestRecords = 4096    // how many records a call of Newest looks at, at most
	lastsBytes    = 4 << 20 // about how many bytes of data an answer to LastsFor has
	lastsAtOnce   = 256     // how many topics LastsFor names, so that the request is not too large
)

// Newest implements [eventlog.Log]. A server lists the newest records of up to 1,024 topics.
// If the filters match more topics, Newest reads the records in order, and asks for each
// whether it is the newest of its topic.
func (l *Log) Newest(ctx context.Context, filters []topics.Filter, after, upTo uint64, limit int) (seqs []uint64, through uint64, err error) {
	defer l.ended(&err)
	if err := l.enter(ctx); err != nil {
		return nil, after, err
	}
	if err := ctx.Err(); err != nil || upTo <= after {
		return nil, after, err
	}
	g := l.now.Load()
	sel := l.names.selection(filters)
	if !g.wide.has(sel) {
		seqs, through, err := l.lasts(ctx, sel, after, upTo, limit)
		if !errors.Is(err, errTooMany) {
			return seqs, through, err
		}
		g.wide.add(sel)
	}
	first, _, err := l.bounds(ctx)
	if err != nil {
		return nil, after, err
	}
	after = max(after, first-1)
	if end, _, ok := g.holes.at(after + 1); ok {
		after = end
	}
	if after >= upTo {
		return nil, upTo, nil
	}
	b, err := l.read(ctx, g, eventlog.Query{
		Filters: filters, After: after, UpTo: min(upTo, after+newestRecords), MaxRecords: min(limit, scanMost), MaxBytes: 4 << 20,
	})
	if err != nil {
		return nil, after, err
	}
	newest, err := l.newestOf(ctx, b.Records)
	if err != nil {
		return nil, after, err
	}
	for _, r := range b.Records {
		if newest[r.Topic] == r.Seq {
			seqs = append(seqs, r.Seq)
		}
	}
	return seqs, b.Through, nil
}

// lasts is Newest with a request to any replica. It fails with errTooMany if too many topics
// are selected, or if a record is damaged. Read skips such a record.
func (l *Log) lasts(ctx context.Context, sel *selection, after, upTo uint64, limit int) ([]uint64, uint64, error) {
	for deadline := time.Now().Add(requestTimeout); ; {
		records, end, err := l.batch(ctx, getRequest{LastsFor: sel.subjects, Seq: after + 1, Batch: limit, MaxBytes: lastsBytes})
		if err != nil {
			return nil, 0, err
		}
		if end.Get("Status") == "404" && end.Get("Description") != "No Results" {
			return nil, 0, errTooMany
		}
		reached, err := l.reaches(ctx, end, sel, after, upTo)
		if err != nil {
			return nil, 0, err
		}
		if reached {
			var seqs []uint64
			for _, r := range records {
				if r.Seq > upTo {
					return seqs, upTo, nil
				}
				seqs = append(seqs, r.Seq)
			}
			if len(seqs) == 0 {
				return nil, upTo, nil
			}
			return seqs, seqs[len(seqs)-1], nil
		}
		if time.Now().After(deadline) {
			return nil, 0, fmt.Errorf("natslog: a replica of the stream has been behind for %v", requestTimeout)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// reaches reports whether the replica that answered LastsFor has all selected records up to
// upTo. A replica that is behind omits the newest records.
func (l *Log) reaches(ctx context.Context, end nats.Header, sel *selection, after, upTo uint64) (bool, error) {
	if at, err := strconv.ParseUint(end.Get("Nats-UpTo-Sequence"), 10, 64); err == nil {
		return at >= upTo, nil
	}
	// The replica has no selected record, and does not say how far it is.
	r, err := l.next(ctx, sel, after+1)
	if errors.Is(err, eventlog.ErrNotFound) {
		return true, nil
	}
	return err == nil && r.Seq > upTo, err
}

// newestOf returns the sequence number of the newest record of each topic in records. It asks
// any replica. A replica that is behind may not know of a later record.
func (l *Log) newestOf(ctx context.Context, records []eventlog.Record) (map[string]uint64, error) {
	newest := map[string]uint64{}
	for _, r := range records {
		newest[r.Topic] = r.Seq
	}
	for topics := range slices.Chunk(slices.Collect(maps.Keys(newest)), lastsAtOnce) {
		req := getRequest{MaxBytes: lastsBytes}
		for _, topic := range topics {
			req.LastsFor = append(req.LastsFor, l.names.subject(topic))
		}
		for left := len(topics); left > 0; {
			answer, _, err := l.batch(ctx, req)
			if err != nil {
				return nil, err
			}
			if len(answer) == 0 {
				break
			}
			for _, r := range answer {
				newest[r.Topic] = max(newest[r.Topic], r.Seq)
				req.Seq = r.Seq + 1
				left--
			}
		}
	}
	return newest, nil
}

// wide remembers which selections have too many topics for LastsFor, so that not every piece
// asks in vain: the server looks at all these topics before it refuses. A stale entry costs
// time, but changes no result. Methods may be called concurrently.
type wide struct {
	mu    sync.Mutex
	known map[string]time.Time // when wide learned of the selection
}

const (
	mostWide = 100
	wideFor  = time.Minute
)

func (w *wide) key(sel *selection) string { return strings.Join(sel.subjects, " ") }

func (w *wide) has(sel *selection) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.known[w.key(sel)]
	return ok && time.Since(at) < wideFor
}

func (w *wide) add(sel *selection) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.known == nil || len(w.known) >= mostWide {
		w.known = map[string]time.Time{}
	}
	w.known[w.key(sel)] = time.Now()
}
