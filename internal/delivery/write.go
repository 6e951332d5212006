package delivery

import "slices"

// How much a stream is handed at once. writev takes at most 1,024 slices.
const (
	burstFrames = 256
	burstBytes  = 128 << 10 // to a socket
	taskBytes   = 64 << 10  // to a task, which holds them while it is slow
	taskFrames  = 64        // to an iterator, which holds them while it is slow
)

// outgoing is what one stream is handed at once. It consists of the rest of a frame, frames of
// a pendingWrite's queue and frames of the set, in this order.
type outgoing struct {
	pieces [burstFrames][]byte // for a socket or a writer
	frames [taskFrames]Frame   // for an iterator
	n      int                 // number of pieces or frames
	bytes  int
	rest   int // 1 if the first piece is the rest of a frame, otherwise 0
	queued int // number of frames from the queue
	first  int // index in Set.frames of the first frame from the set

	maxPieces, maxBytes int

	run      run  // what out consists of; zero unless out has only frames of a set
	iovReady bool // sockets.iov describes the pieces
}

// A run identifies frames that several sockets of a set lack.
type run struct {
	set   *Set
	from  uint64 // count before the first frame
	total uint64 // of the set
	form  uint8
}

func (s *Shard) resetOut(sink Sink) {
	out := &s.out
	out.n, out.bytes, out.rest, out.queued, out.run, out.iovReady = 0, 0, 0, 0, run{}, false
	switch sink {
	case Socket:
		out.maxPieces, out.maxBytes = burstFrames, burstBytes
	case Writer:
		out.maxPieces, out.maxBytes = burstFrames, taskBytes
		if pinned := s.opts.Pinned; pinned.Used() > pinned.Limit() {
			out.maxPieces = 1 // nothing needs to be joined
		}
	case Iterator:
		out.maxPieces, out.maxBytes = taskFrames, taskBytes
	}
}

// add adds a piece. It reports whether another piece may follow.
func (out *outgoing) add(piece []byte) bool {
	out.pieces[out.n] = piece
	out.n++
	out.bytes += len(piece)
	return out.n < out.maxPieces && out.bytes < out.maxBytes
}

// addFrame adds a frame. If the frame has no wire form, ok is false.
func (out *outgoing) addFrame(sl *slot, f Frame) (more, ok bool) {
	if sl.sink == Iterator {
		out.frames[out.n] = f
		out.n++
		out.bytes += f.Size()
		return out.n < out.maxPieces && out.bytes < out.maxBytes, true
	}
	piece := f.Wire(sl.form)
	if piece == nil {
		return false, false
	}
	if sl.sink == Writer {
		piece = body(piece)
	}
	return out.add(piece), true
}

// collect fills s.out with a stream's next frames. It returns false if a frame has no wire
// form.
func (s *Shard) collect(sl *slot, pw *pendingWrite) bool {
	out := &s.out
	set := s.sets[sl.set]
	fromSet := (sl.state == live || sl.state == lagging) && sl.count >= set.base
	if pw == nil && fromSet && sl.sink == Socket && out.run == (run{set, sl.count, set.total(), sl.form}) &&
		set.frames[sl.count-set.base].Position() > sl.pos {
		out.first = int(sl.count - set.base)
		return true // the previous stream lacked the same frames
	}
	s.resetOut(sl.sink)
	if pw != nil {
		if len(pw.rest) > 0 {
			out.rest = 1
			if !out.add(pw.rest) {
				return true
			}
		}
		for _, f := range pw.queue {
			out.queued++
			if more, ok := out.addFrame(sl, f); !more {
				return ok
			}
		}
	}
	if !fromSet {
		return true
	}
	for sl.count < set.total() && set.frames[sl.count-set.base].Position() <= sl.pos {
		sl.count++ // the client got this frame by another way
	}
	out.first = int(sl.count - set.base)
	if out.n == 0 && sl.sink == Socket && sl.count < set.total() {
		out.run = run{set, sl.count, set.total(), sl.form}
	}
	for _, f := range set.frames[out.first:] {
		if more, ok := out.addFrame(sl, f); !more {
			if !ok {
				out.run = run{}
			}
			return ok
		}
	}
	return true
}

// countDelivered records that a stream was handed this many frames of its set.
func (s *Shard) countDelivered(sl *slot, frames int) {
	if frames > 0 {
		sl.count += uint64(frames)
		sl.pos = s.sets[sl.set].frames[s.out.first+frames-1].Position()
		s.stats.Deliveries += uint64(frames)
	}
}

// serve hands a stream its next frames, and handles the result. It may end the stream.
func (s *Shard) serve(i uint32) {
	if s.slots[i].sink == Socket {
		s.serveSocket(i)
	} else {
		s.queueTask(i)
	}
}

// Send hands a stream frames that go out before any frame of its set. position is the
// client's position after them. Send only reads the slice, which may be shared.
func (s *Shard) Send(slot uint32, frames []Frame, position uint64) {
	sl := &s.slots[slot]
	pw := s.ensurePendingWrite(slot)
	if len(pw.queue) > 0 {
		frames = slices.Concat(pw.queue, frames)
	} else {
		pw.has = sl.pos
	}
	pw.queue, sl.pos = frames, position
	if !sl.stalled {
		s.serve(slot)
	}
}

// SendHead hands a new stream on a socket what comes before its first frame. The client gets it
// however the stream ends, even by [Shard.Conclude]. Nothing is written before Send.
func (s *Shard) SendHead(slot uint32, head []byte) { s.ensurePendingWrite(slot).rest = head }

// afterPending continues a stream that has been handed everything in its pendingWrite.
func (s *Shard) afterPending(i uint32) {
	sl := &s.slots[i]
	if sl.stalled {
		sl.stalled = false
		s.stats.Stalled--
		s.keepFramesFor(sl)
	}
	if sl.state == closing {
		s.finishClosing(i)
		return
	}
	if sl.hasPendingWrite {
		s.dropPendingWrite(i)
	}
	set := s.sets[sl.set]
	switch {
	case sl.state == detached:
		s.feed.Written(i)
	case sl.count < set.base:
		s.feed.Resettle(i)
	case sl.state == live && sl.count < set.total():
		s.makeLagging(i)
	case sl.state == lagging && sl.sink != Socket && sl.count < set.total():
		s.queueTask(i)
	case sl.state == lagging && sl.sink != Socket:
		s.makeLive(sl)
	case s.draining:
		s.markDirty(set)
	}
}

// finishClosing is called when a closing stream has been handed everything. It ends the
// stream. A socket is left to the client for a while, see [Shard.tickSocket]: it is shut down at
// once only if the response is complete.
func (s *Shard) finishClosing(i uint32) {
	sl, pw := &s.slots[i], s.pendingWrites[i]
	if sl.sink != Socket {
		s.end(i, pw.reason, nil)
		return
	}
	pw.since, pw.concluded = s.tickTime, false
	if pw.reason == Finished {
		s.shutSocket(sl, pw)
	}
}

// body returns the event in a chunk of an HTTP/1.1 body.
func body(chunk []byte) []byte {
	for i, c := range chunk {
		if c == '\n' {
			return chunk[i+1 : len(chunk)-len("\r\n")]
		}
	}
	return chunk
}
