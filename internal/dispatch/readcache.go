package dispatch

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/window"
	"example.com/tidings/topics"
)

// A batch is shared for a moment, because many clients that were cut together come back
// together, with the same last event ID.
const (
	sharedFor  = time.Second
	maxBatches = 32 // each of up to readBytes and a record
)

// A readCache has the batches that were read from the log a moment ago.
type readCache struct {
	log    eventlog.Log
	window *window.Window

	mu     sync.Mutex
	m      map[batchKey]*sharedBatch
	forget *time.Timer // not nil while there are batches
}

// A batchKey identifies what two cursors can share. How far the log went at the time is
// not part of it: a batch that ends early is followed by another one.
type batchKey struct {
	filters    string
	after      uint64
	generation uint64
}

// A sharedBatch is what the log has returned, with an entry for each record.
type sharedBatch struct {
	eventlog.Batch
	entries []*window.Entry

	done chan struct{} // closed when all else is set
	err  error
	read time.Time
}

// filterKey returns a string that is the same for all cursors with the same filters.
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

// read returns the next batch for a cursor.
func (s *readCache) read(ctx context.Context, c *Cursor, upTo uint64) (*sharedBatch, error) {
	key := batchKey{filterKey(c.filters), c.pos, c.generation}
	s.mu.Lock()
	b := s.m[key]
	if b != nil && time.Since(b.read) < sharedFor {
		s.mu.Unlock()
		select {
		case <-b.done:
			if b.err == nil {
				return b, nil
			}
			// The error may be that of the other cursor's context.
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return s.readAlone(ctx, c, upTo)
	}
	b = &sharedBatch{done: make(chan struct{}), read: time.Now()}
	if len(s.m) >= maxBatches {
		s.forgetOld()
	}
	if len(s.m) < maxBatches {
		if s.m == nil {
			s.m = map[batchKey]*sharedBatch{}
		}
		s.m[key] = b
		if s.forget == nil {
			s.forget = time.AfterFunc(sharedFor, s.expire)
		}
	}
	s.mu.Unlock()
	own, err := s.readAlone(ctx, c, upTo)
	if err == nil {
		b.Batch, b.entries = own.Batch, own.entries
	}
	b.err = err
	close(b.done)
	return b, err
}

func (s *readCache) readAlone(ctx context.Context, c *Cursor, upTo uint64) (*sharedBatch, error) {
	found, err := s.log.Read(ctx, eventlog.Query{
		Filters: c.filters, After: c.pos, UpTo: upTo, Generation: c.generation,
		MaxRecords: readRecords, MaxBytes: readBytes,
	})
	if err != nil {
		return nil, err
	}
	b := &sharedBatch{Batch: found, entries: make([]*window.Entry, 0, len(found.Records))}
	for _, rec := range found.Records {
		if !strings.HasPrefix(rec.Topic, topics.ReservedPrefix) {
			b.entries = append(b.entries, s.window.Entry(c.timeline, rec))
		}
	}
	b.Records = nil
	return b, nil
}

// expire drops the batches that are no longer shared, now and until there are none.
func (s *readCache) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetOld()
	switch {
	case s.forget == nil: // it was closed
	case len(s.m) > 0:
		s.forget.Reset(sharedFor)
	default:
		s.forget = nil
	}
}

// forgetOld drops the batches that are no longer shared. Callers hold mu.
func (s *readCache) forgetOld() {
	for key, b := range s.m {
		if time.Since(b.read) >= sharedFor {
			delete(s.m, key)
		}
	}
}

// close drops everything, when nobody reads any more.
func (s *readCache) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forget != nil {
		s.forget.Stop()
	}
	s.m, s.forget = nil, nil
}
