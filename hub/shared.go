package hub

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// What is read from the log is kept for a moment, since many clients that were cut
// together come back together, with the same id.
const (
	sharedFor  = time.Second
	maxBatches = 32 // of up to readBytes and a record
)

// batches are those that were read from the log a moment ago.
type batches struct {
	mu sync.Mutex
	m  map[batchKey]*batch
}

// A batchKey is what makes a batch the same for two cursors. How far the log then went
// does not: a batch that ends early is followed by another one.
type batchKey struct {
	filters  string
	after    uint64
	timeline *Epoch // of the log as it was opened
}

// A batch is what the log has returned, with an entry for each record.
type batch struct {
	Batch
	entries []*entry

	done chan struct{} // closed when all else is set
	err  error
	read time.Time
}

// key returns what stands for the filters of a cursor: the same for all that have the
// same.
func filterKey(filters []Filter) string {
	if len(filters) == 1 {
		return filters[0].pattern
	}
	patterns := make([]string, len(filters))
	for i, f := range filters {
		patterns[i] = f.pattern
	}
	slices.Sort(patterns)
	return strings.Join(patterns, " ")
}

// read returns the next batch for a cursor.
func (h *Hub) read(ctx context.Context, c *cursor, upTo uint64) (*batch, error) {
	key := batchKey{filterKey(c.filters), c.pos, &c.timeline[0]}
	s := &h.shared
	s.mu.Lock()
	b := s.m[key]
	if b != nil && time.Since(b.read) < sharedFor {
		s.mu.Unlock()
		select {
		case <-b.done:
			if b.err == nil {
				return b, nil
			}
			// It may have been the other one's context.
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return h.readAlone(ctx, c, upTo)
	}
	b = &batch{done: make(chan struct{}), read: time.Now()}
	if len(s.m) < maxBatches {
		if s.m == nil {
			s.m = map[batchKey]*batch{}
		}
		s.m[key] = b
	}
	s.mu.Unlock()
	own, err := h.readAlone(ctx, c, upTo)
	if err == nil {
		b.Batch, b.entries = own.Batch, own.entries
	}
	b.err = err
	close(b.done)
	return b, err
}

func (h *Hub) readAlone(ctx context.Context, c *cursor, upTo uint64) (*batch, error) {
	found, err := h.log.Read(ctx, Query{
		Filters: c.filters, After: c.pos, UpTo: upTo,
		MaxRecords: readRecords, MaxBytes: readBytes,
	})
	if err != nil {
		return nil, err
	}
	b := &batch{Batch: found, entries: make([]*entry, len(found.Records))}
	for i, rec := range found.Records {
		b.entries[i] = c.timeline.entry(rec)
	}
	b.Records = nil
	return b, nil
}

// forget drops what is no longer to be shared.
func (s *batches) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, b := range s.m {
		if time.Since(b.read) >= sharedFor {
			delete(s.m, key)
		}
	}
}
