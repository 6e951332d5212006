package jetlog

import (
	"context"
	"strings"
	"sync"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// newestRecords is how many records a call of newest looks at, at most.
const newestRecords = 4096

// newest is [eventlog.Log]'s Newest. A source can list the newest records of a few thousand
// topics at once. Where more are selected, newest reads records in order, and asks for
// each whether it is the newest of its topic.
func newest(ctx context.Context, c *core, names naming, filters []topics.Filter, after, upTo uint64, limit int) ([]uint64, uint64, error) {
	if err := ctx.Err(); err != nil || upTo <= after {
		return nil, after, err
	}
	sel := names.selection(filters)
	if !c.wide.has(sel) {
		seqs, through, ok, err := c.src.newest(ctx, sel, after, upTo, limit)
		if ok || err != nil {
			return seqs, through, err
		}
		c.wide.add(sel)
	}
	st, err := c.src.state(ctx)
	if err != nil {
		return nil, after, err
	}
	after = max(after, st.First-1)
	if end, ok := c.holes.at(after + 1); ok {
		after = end
	}
	if after >= upTo {
		return nil, upTo, nil
	}
	b, err := read(ctx, c.src, c.holes, names, eventlog.Query{
		Filters: filters, After: after, UpTo: min(upTo, after+newestRecords), MaxRecords: min(limit, scanMost), MaxBytes: 4 << 20,
	})
	if err != nil {
		return nil, after, err
	}
	found, err := c.src.newestOf(ctx, b.Records)
	if err != nil {
		return nil, after, err
	}
	var seqs []uint64
	for _, r := range b.Records {
		if found[r.Seq] {
			seqs = append(seqs, r.Seq)
		}
	}
	return seqs, b.Through, nil
}

// lastOfTopics returns the sequence number of the last record of each topic.
func lastOfTopics(records []eventlog.Record) map[string]uint64 {
	lasts := map[string]uint64{}
	for _, r := range records {
		lasts[r.Topic] = r.Seq
	}
	return lasts
}

// wide remembers which selections have too many topics for the newest of a [source], so
// that not every piece asks in vain. A stale entry costs time, but changes no result.
// Methods may be called concurrently.
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
