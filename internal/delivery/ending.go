package delivery

import (
	"container/heap"
	"slices"
	"time"
)

// EndAt has a stream end at a time, give or take a tenth of a second. It is called once
// for a stream.
func (s *Shard) EndAt(slot uint32, at time.Time, e Ending) {
	s.slots[slot].timed = true
	heap.Push(&s.ends, appointment{at, s.Name(slot), e})
}

// Conclude ends a stream: its client gets nothing more but the rest of a frame that is on
// the wire in part, and the last frame.
func (s *Shard) Conclude(slot uint32, e Ending) {
	sl := &s.slots[slot]
	if sl.state == closing {
		return
	}
	s.leaveState(sl)
	sl.state = closing
	x := s.unusual(slot)
	x.queue, x.ending, x.since = nil, &e, s.time
	var frames []Frame
	if e.Last != nil && sl.sink != Iterator {
		frames = append(frames, e.Last)
	}
	if e.Clean {
		frames = append(frames, finalFrames(sl.sink)...)
	}
	s.Send(slot, frames, sl.pos)
}

// concludeDue ends the streams whose time is up.
func (s *Shard) concludeDue() {
	for len(s.ends.due) > 0 && !s.ends.due[0].at.After(s.time) {
		a := heap.Pop(&s.ends).(appointment)
		if s.Is(a.stream) {
			s.slots[a.stream.Slot].timed = false
			s.Conclude(a.stream.Slot, a.ending)
		} else {
			s.ends.stale--
		}
	}
}

// unschedule takes note that a stream has ended before its time.
func (s *Shard) unschedule() {
	s.ends.stale++
	if s.ends.stale > 64 && s.ends.stale > len(s.ends.due)/2 {
		// The caller's stream is still there.
		s.ends.due = slices.DeleteFunc(s.ends.due, func(a appointment) bool { return !s.Is(a.stream) })
		s.ends.stale = 1
		heap.Init(&s.ends)
	}
}

// endingOf returns the Ending by which a stream is concluded, or nil.
func (s *Shard) endingOf(i uint32) *Ending {
	if x := s.unusualOf(i); x != nil {
		return x.ending
	}
	return nil
}

// An appointment says when a stream is to end, and how.
type appointment struct {
	at     time.Time
	stream Stream
	ending Ending
}

// A schedule is a heap of appointments, the earliest first.
type schedule struct {
	due   []appointment
	stale int // of streams that have ended
}

func (s *schedule) Len() int           { return len(s.due) }
func (s *schedule) Less(i, j int) bool { return s.due[i].at.Before(s.due[j].at) }
func (s *schedule) Swap(i, j int)      { s.due[i], s.due[j] = s.due[j], s.due[i] }
func (s *schedule) Push(a any)         { s.due = append(s.due, a.(appointment)) }

func (s *schedule) Pop() any {
	last := len(s.due) - 1
	a := s.due[last]
	s.due[last] = appointment{}
	s.due = s.due[:last]
	return a
}

// finalChunk ends a chunked body (RFC 9112, section 7.1).
var finalChunk = []Frame{wireFrame("0\r\n\r\n")}

// finalFrames returns what ends a response of a sink that is complete: net/http ends that
// of a task.
func finalFrames(sink Sink) []Frame {
	if sink == Socket {
		return finalChunk
	}
	return nil
}

// A wireFrame stands on the wire as it is, and has no position.
type wireFrame []byte

func (w wireFrame) Position() uint64  { return 0 }
func (w wireFrame) Wire(uint8) []byte { return w }
func (w wireFrame) Size() int         { return len(w) }
