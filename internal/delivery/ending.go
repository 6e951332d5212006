package delivery

import (
	"container/heap"
	"errors"
	"slices"
	"time"
)

// EndAt schedules the end of a stream, to about a tenth of a second. It is called once
// for a stream at most: both ends would stay scheduled, and the earlier one counts.
func (s *Shard) EndAt(slot uint32, at time.Time, reason Reason) {
	s.slots[slot].scheduled = true
	heap.Push(&s.ends, scheduledEnd{at, s.Name(slot), reason})
}

// Finish ends a stream after the frames that were sent to it. Its client then gets the last
// frame of the feed. The reason is Stopping or a later one. Finishing a stream that ends
// already does nothing.
func (s *Shard) Finish(slot uint32, reason Reason) {
	sl := &s.slots[slot]
	if sl.state == closing {
		return
	}
	var frames []Frame
	if sl.sink != Iterator {
		frames = append(frames, s.feed.Last(slot, reason))
	}
	if sl.sink == Socket && reason == Finished {
		frames = append(frames, finalChunk)
	}
	s.leaveState(sl)
	sl.state = closing
	s.ensurePendingWrite(slot).reason = reason
	s.Send(slot, frames, sl.pos)
}

// Conclude ends a stream before it has everything. Its client gets only the rest of a partly
// written frame, and then the last frame. A socket or a writer that is full for longer than
// linger does not get that. (Finish lets the client have everything, and Break nothing.)
func (s *Shard) Conclude(slot uint32, reason Reason) {
	sl := &s.slots[slot]
	if sl.state == closing {
		return
	}
	pw := s.ensurePendingWrite(slot)
	if len(pw.queue) > 0 {
		pw.queue, sl.pos = nil, pw.has
	}
	pw.concluded, pw.since = true, s.tickTime
	s.Finish(slot, reason)
}

// errBusy is the error of a writer whose stream has finished, but that has not written all of
// it. The response must not look complete.
var errBusy = errors.New("delivery: the client has not taken the end of the stream")

// concludeDue concludes the streams whose scheduled end has come.
func (s *Shard) concludeDue() {
	for len(s.ends.entries) > 0 && !s.ends.entries[0].at.After(s.tickTime) {
		entry := heap.Pop(&s.ends).(scheduledEnd)
		if s.Is(entry.stream) {
			s.slots[entry.stream.Slot].scheduled = false
			s.Conclude(entry.stream.Slot, entry.reason)
		} else {
			s.ends.stale--
		}
	}
}

// dropStaleEnds counts the entry of a stream that has ended early. When such entries are
// more than half of the schedule, it removes them.
func (s *Shard) dropStaleEnds() {
	s.ends.stale++
	if s.ends.stale > 64 && s.ends.stale > len(s.ends.entries)/2 {
		// The caller's entry stays, because its stream still has its slot.
		s.ends.entries = slices.DeleteFunc(s.ends.entries, func(e scheduledEnd) bool { return !s.Is(e.stream) })
		s.ends.stale = 1
		heap.Init(&s.ends)
	}
}

// A scheduledEnd says when and why a stream ends.
type scheduledEnd struct {
	at     time.Time
	stream Stream
	reason Reason
}

// A schedule is a heap of entries, the earliest first.
type schedule struct {
	entries []scheduledEnd
	stale   int // entries of streams that have ended
}

func (s *schedule) Len() int           { return len(s.entries) }
func (s *schedule) Less(i, j int) bool { return s.entries[i].at.Before(s.entries[j].at) }
func (s *schedule) Swap(i, j int)      { s.entries[i], s.entries[j] = s.entries[j], s.entries[i] }
func (s *schedule) Push(a any)         { s.entries = append(s.entries, a.(scheduledEnd)) }

func (s *schedule) Pop() any {
	last := len(s.entries) - 1
	entry := s.entries[last]
	s.entries[last] = scheduledEnd{}
	s.entries = s.entries[:last]
	return entry
}

// finalChunk ends a chunked body (RFC 9112, section 7.1). A task needs none, because net/http
// completes its response.
var finalChunk = wireFrame("0\r\n\r\n")

// A wireFrame is written as it is. It has no position.
type wireFrame []byte

func (w wireFrame) Position() uint64  { return 0 }
func (w wireFrame) Wire(uint8) []byte { return w }
func (w wireFrame) Size() int         { return len(w) }
