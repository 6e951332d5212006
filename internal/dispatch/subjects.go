package dispatch

import (
	"context"
	"sync/atomic"
	"time"

	"example.com/tidings/internal/delivery"
)

// A Holder says whose a stream is.
type Holder struct {
	Subject string          // may be empty
	Issued  time.Time       // when the subject's credential was made, or zero
	Since   time.Time       // when it was decided that the subject may read
	Session context.Context // nil, or ends the stream when it is done
	Revoked *atomic.Bool    // nil, or set when the stream may no longer be read
}

// subjects are the streams of one shard that have a holder. Only the shard's goroutine uses
// them.
type subjects struct {
	holders map[uint32]*held               // by slot
	streams map[string]map[uint32]struct{} // slots by subject
}

type held struct {
	Holder
	unwatch func() bool
}

// hold notes whose a stream is. If the subject has been revoked meanwhile, or the session is over,
// it ends the stream: whoever revokes looks for streams after that was noted, so none escapes.
func (f *feed) hold(slot uint32, h Holder) {
	if h.Subject == "" && h.Session == nil {
		return
	}
	s := &f.subjects
	if s.holders == nil {
		s.holders, s.streams = map[uint32]*held{}, map[string]map[uint32]struct{}{}
	}
	x := &held{Holder: h}
	s.holders[slot] = x
	if h.Subject != "" {
		if s.streams[h.Subject] == nil {
			s.streams[h.Subject] = map[uint32]struct{}{}
		}
		s.streams[h.Subject][slot] = struct{}{}
	}
	if h.Session != nil && h.Session.Err() == nil {
		stream := f.shard.Name(slot)
		x.unwatch = context.AfterFunc(h.Session, func() {
			f.shard.Do(func() {
				if f.shard.Is(stream) {
					f.revoke(slot)
				}
			})
		})
	}
	if h.Subject != "" && f.dispatcher.opts.Revoked(h) || h.Session != nil && h.Session.Err() != nil {
		f.revoke(slot)
	}
}

// letGo forgets whose a stream was.
func (f *feed) letGo(slot uint32) {
	s := &f.subjects
	x := s.holders[slot]
	if x == nil {
		return
	}
	delete(s.holders, slot)
	if x.unwatch != nil {
		x.unwatch()
	}
	if slots := s.streams[x.Subject]; len(slots) > 1 {
		delete(slots, slot)
	} else {
		delete(s.streams, x.Subject)
	}
}

// revoke ends a stream that may no longer be read: what has not begun to be sent is dropped.
func (f *feed) revoke(slot uint32) {
	if x := f.subjects.holders[slot]; x != nil && x.Revoked != nil {
		x.Revoked.Store(true)
	}
	f.shard.Conclude(slot, delivery.Revoked)
}

// Revoke ends all streams of a subject, or those that Options.Revoked tells. It does not wait for
// that, see Settle.
func (d *Dispatcher) Revoke(subject string, all bool) {
	for _, f := range d.feeds {
		f.shard.Do(func() {
			for slot := range f.subjects.streams[subject] {
				if all || d.opts.Revoked(f.subjects.holders[slot].Holder) {
					f.revoke(slot)
				}
			}
		})
	}
}

// Settle waits until each shard has done what it was told before.
func (d *Dispatcher) Settle(ctx context.Context) error {
	for _, f := range d.feeds {
		done := make(chan struct{})
		if !f.shard.Do(func() { close(done) }) {
			continue
		}
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
