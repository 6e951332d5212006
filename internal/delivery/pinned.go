package delivery

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// grace is how long a stream may take nothing before it is ended for what it pins, unless the
// streams pin twice as much as they may. Then there is no time for its last frame either.
const grace = time.Second

// pinsTooMuch reports whether the streams pin twice as much as they may.
func (s *Shard) pinsTooMuch() bool { return s.opts.Pinned.Used()/2 > s.opts.Pinned.Limit() }

// Silent returns for how long a stream's client has taken nothing of what it was handed. It is 0
// if the client has everything.
func (s *Shard) Silent(slot uint32) time.Duration {
	sl := &s.slots[slot]
	switch {
	case sl.sink == Socket && sl.stalled:
		pw := s.pendingWrites[slot]
		s.hasTaken(sl, pw)
		return s.tickTime.Sub(pw.since)
	case sl.busy:
		if t := s.tasks[sl.handle]; t.pieces.Load() == t.seenPieces {
			return time.Duration(s.clock-sl.lastActive) * s.tick
		}
	}
	return 0
}

// unlimited is a Budget that never counts.
type unlimited struct{}

func (unlimited) Add(int)    {}
func (unlimited) Give(int)   {}
func (unlimited) Used() int  { return 0 }
func (unlimited) Limit() int { return math.MaxInt }
func (unlimited) Refuse()    {}

// A pinning is a stream that pins bytes.
type pinning struct {
	slot  uint32
	bytes int
	quiet time.Duration
}

// relievePins ends streams while all pin more than they may, those first that have taken nothing
// for longest. The one that has taken something last goes on in any case: a single message may
// be larger than the budget.
func (s *Shard) relievePins() {
	b := s.opts.Pinned
	over := b.Used() - b.Limit()
	if over <= 0 {
		return
	}
	urgent := s.pinsTooMuch()
	var all []pinning
	consider := func(i uint32, bytes int) {
		switch sl := &s.slots[i]; {
		case bytes == 0:
		case sl.state == closing && urgent:
			s.end(i, s.pendingWrites[i].reason, nil)
			over -= bytes
		case sl.state == closing:
			over -= bytes // given back soon
		default:
			all = append(all, pinning{i, bytes, s.Silent(i)})
		}
	}
	for i, pw := range s.pendingWrites {
		if pw.pin != nil {
			consider(i, pw.pin.Pinned())
		}
	}
	for _, t := range s.tasks {
		if t != nil {
			consider(t.stream.Slot, t.pinned())
		}
	}
	slices.SortFunc(all, func(a, b pinning) int { return cmp.Compare(b.quiet, a.quiet) })
	for n, p := range all {
		if over <= 0 || p.quiet < grace && (!urgent || n == len(all)-1) {
			return
		}
		over -= p.bytes
		b.Refuse()
		if urgent {
			s.end(p.slot, Slow, nil)
		} else {
			s.Conclude(p.slot, Slow)
		}
	}
}

// pin has a busy task pin the frames of its set that it was handed.
func (t *Task) pin(frames []Frame, form uint8) {
	for _, f := range frames {
		if f, ok := f.(Pinnable); ok {
			p := f.Part(form)
			p.Pin()
			t.pins = append(t.pins, p)
		}
	}
}

// unpin has a task pin nothing, when its work is done or its stream has ended.
func (t *Task) unpin() {
	for _, p := range t.pins {
		p.Unpin()
	}
	clear(t.pins)
	t.pins = t.pins[:0]
	if t.joined != nil {
		t.joined.leave()
		t.joined = nil
	}
}

// pinned returns how many bytes are given back when the task pins nothing.
func (t *Task) pinned() (bytes int) {
	for _, p := range t.pins {
		bytes += p.Pinned()
	}
	if t.joined != nil {
		bytes += len(t.joined.bytes) / t.joined.users
	}
	return bytes
}

// pinFrames has an iterator that takes nothing pin its frames, unless it has just taken them.
func (s *Shard) pinFrames(t *Task) {
	b := &s.baton
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(t.frames) > 0 {
		t.pin(t.frames[t.queued:], NoForm)
	}
}
