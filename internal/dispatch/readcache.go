package dispatch

import (
	"context"
	"strings"
	"sync"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/window"
	"example.com/tidings/topics"
)

// A batch is shared for a moment, because many clients that were cut together come back
// together, with the same last event ID.
const (
	sharedFor  = time.Second
	maxBatches = 32 // each of up to readBytes and a record
)

// A batch that takes more than a sixteenth of the bytes for all of them is not shared, because
// its messages may grow a lot when they are encoded.
const batchShare = 16

// A readCache has the batches that were read from the log a moment ago.
type readCache struct {
	log    eventlog.Log
	window *window.Window
	budget *budget.Bytes // a part of it is for the batches

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
	account *window.Account // of the entries, while the batch is shared

	owns bool // account counts the entries; guarded by the readCache's mu

	done chan struct{} // closed when all else is set
	err  error
	read time.Time
}

// read returns the next batch for a cursor.
func (s *readCache) read(ctx context.Context, c *Cursor, upTo uint64) (*sharedBatch, error) {
	key := batchKey{c.booking.key, c.pos, c.generation}
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
	if b != nil {
		s.drop(key, b)
	}
	b = &sharedBatch{done: make(chan struct{}), read: time.Now(), account: window.NewAccount(s.budget)}
	shared := !s.isFull()
	if !shared {
		s.forgetOld()
		shared = !s.isFull()
	}
	if shared {
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
	if shared {
		s.share(key, b)
	}
	close(b.done)
	return b, err
}

// share has the account of a batch that was read count its entries, if the batch is still to
// be shared.
func (s *readCache) share(key batchKey, b *sharedBatch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m[key] != b {
		return
	}
	for _, e := range b.entries {
		e.Own(b.account)
	}
	b.owns = true
	if b.account.Bytes() > s.most()/batchShare {
		s.drop(key, b)
	}
}

// most returns how many bytes all batches may take.
func (s *readCache) most() int { return s.budget.Limit() / cacheShare }

// isFull reports whether no other batch can be shared. If the messages of those that are have
// grown a lot, nothing is shared any more. Callers hold mu.
func (s *readCache) isFull() bool {
	total := 0
	for _, b := range s.m {
		total += b.account.Bytes()
	}
	if total > 2*s.most() {
		for key, b := range s.m {
			s.drop(key, b)
		}
	}
	return total > s.most() || len(s.m) >= maxBatches
}

// drop ends the sharing of a batch. Callers hold mu.
func (s *readCache) drop(key batchKey, b *sharedBatch) {
	delete(s.m, key)
	if b.owns {
		b.owns = false
		for _, e := range b.entries {
			e.Disown()
		}
	}
}

func (s *readCache) readAlone(ctx context.Context, c *Cursor, upTo uint64) (*sharedBatch, error) {
	found, err := s.log.Read(ctx, eventlog.Query{
		Filters: c.filters, After: c.pos, UpTo: upTo, Generation: c.generation,
		MaxRecords: readRecords, MaxBytes: min(c.readMost, readBytes),
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
			s.drop(key, b)
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
	for key, b := range s.m {
		s.drop(key, b)
	}
	s.m, s.forget = nil, nil
}
