package delivery

import (
	"cmp"
	"container/heap"
	"slices"
	"time"
)

// EndAt schedules the end of a stream, to about a tenth of a second. It is called once
// for a stream at most: both ends would stay scheduled, and the earlier one counts.
func (s *Shard) EndAt(slot uint32, at time.Time, e Ending) {
	s.slots[slot].scheduled = true
	heap.Push(&s.ends, scheduledEnd{at, s.Name(slot), e})
}

// Conclude ends a stream before it has everything. Its client gets only the rest of a partly
// written frame, and then e.Last. (Finish lets it have everything, and Break nothing.)
func (s *Shard) Conclude(slot uint32, e Ending) {
	sl := &s.slots[slot]
	if sl.state == closing {
		return
	}
	e.Reason = cmp.Or(e.Reason, Concluded)
	s.leaveState(sl)
	sl.state = closing
	pw := s.ensurePendingWrite(slot)
	pw.queue, pw.ending, pw.since = nil, &e, s.tickTime
	var frames []Frame
	if e.Last != nil && sl.sink != Iterator {
		frames = append(frames, e.Last)
	}
	if e.Clean {
		frames = append(frames, finalFrames(sl.sink)...)
	}
	s.Send(slot, frames, sl.pos)
}

// concludeDue concludes the streams whose scheduled end has come.
func (s *Shard) concludeDue() {
	for len(s.ends.entries) > 0 && !s.ends.entries[0].at.After(s.tickTime) {
		entry := heap.Pop(&s.ends).(scheduledEnd)
		if s.Is(entry.stream) {
			s.slots[entry.stream.Slot].scheduled = false
			s.Conclude(entry.stream.Slot, entry.ending)
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

// endingOf returns the Ending that concludes a stream, or nil.
func (s *Shard) endingOf(i uint32) *Ending {
	if pw := s.pendingWriteOf(i); pw != nil {
		return pw.ending
	}
	return nil
}

// A scheduledEnd says when and how a stream ends.
type scheduledEnd struct {
	at     time.Time
	stream Stream
	ending Ending
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

// finalChunk ends a chunked body (RFC 9112, section 7.1).
var finalChunk = []Frame{wireFrame("0\r\n\r\n")}

// finalFrames returns the frames that complete a response. A task needs none, because
// net/http completes its response.
func finalFrames(sink Sink) []Frame {
	if sink == Socket {
		return finalChunk
	}
	return nil
}

// A wireFrame is written as it is. It has no position.
type wireFrame []byte

func (w wireFrame) Position() uint64  { return 0 }
func (w wireFrame) Wire(uint8) []byte { return w }
func (w wireFrame) Size() int         { return len(w) }
