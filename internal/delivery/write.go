package delivery

import "slices"

// What a stream is handed at a time. 1,024 slices are the most that writev takes.
const (
	burstFrames = 256
	burstBytes  = 128 << 10 // to a socket
	taskBytes   = 64 << 10  // to a task, which holds them while it is slow
	taskFrames  = 64        // to an iterator, likewise
)

// A batch is what one stream is handed at once. It has pieces of three kinds, in this
// order: what is left of a frame, the queue's frames, and the set's.
type batch struct {
	pieces [burstFrames][]byte // of a socket or a writer
	frames [taskFrames]Frame   // of an iterator
	n      int
	bytes  int
	rest   int // 1 if there is what is left of a frame
	queued int
	first  int // index in the set's list of its first frame here

	most, mostBytes int

	run  run  // that the batch consists of, if it is of nothing else
	laid bool // a socket's pieces are laid out for writev
}

// A run is what several sockets of a set are owed alike.
type run struct {
	set   *Set
	from  uint64 // the count before its first frame
	total uint64 // the set's
	form  uint8
}

func (b *batch) reset(sink Sink) {
	b.n, b.bytes, b.rest, b.queued, b.run, b.laid = 0, 0, 0, 0, run{}, false
	switch sink {
	case Socket:
		b.most, b.mostBytes = burstFrames, burstBytes
	case Writer:
		b.most, b.mostBytes = burstFrames, taskBytes
	case Iterator:
		b.most, b.mostBytes = taskFrames, taskBytes
	}
}

// add adds a piece, and reports whether another one may follow.
func (b *batch) add(piece []byte) bool {
	b.pieces[b.n] = piece
	b.n++
	b.bytes += len(piece)
	return b.n < b.most && b.bytes < b.mostBytes
}

// addFrame adds a frame. ok is false if the frame has no wire form.
func (b *batch) addFrame(sl *slot, f Frame) (more, ok bool) {
	if sl.sink == Iterator {
		b.frames[b.n] = f
		b.n++
		b.bytes += f.Size()
		return b.n < b.most && b.bytes < b.mostBytes, true
	}
	piece := f.Wire(sl.form)
	if piece == nil {
		return false, false
	}
	if sl.sink == Writer {
		piece = body(piece)
	}
	return b.add(piece), true
}

// collect fills the batch with what comes next for a stream. It returns false if a frame
// has no wire form.
func (s *Shard) collect(sl *slot, x *unusual) bool {
	b := &s.batch
	set := s.sets[sl.set]
	fromSet := (sl.state == live || sl.state == behind) && sl.count >= set.base
	if x == nil && fromSet && sl.sink == Socket && b.run == (run{set, sl.count, set.total(), sl.form}) &&
		set.list[sl.count-set.base].Position() > sl.pos {
		b.first = int(sl.count - set.base)
		return true // it is the same as for the one before
	}
	b.reset(sl.sink)
	if x != nil {
		if len(x.rest) > 0 {
			b.rest = 1
			if !b.add(x.rest) {
				return true
			}
		}
		for _, f := range x.queue {
			b.queued++
			if more, ok := b.addFrame(sl, f); !more {
				return ok
			}
		}
	}
	if !fromSet {
		return true
	}
	for sl.count < set.total() && set.list[sl.count-set.base].Position() <= sl.pos {
		sl.count++ // it has had that, elsewhere
	}
	b.first = int(sl.count - set.base)
	if b.n == 0 && sl.sink == Socket && sl.count < set.total() {
		b.run = run{set, sl.count, set.total(), sl.form}
	}
	for _, f := range set.list[b.first:] {
		if more, ok := b.addFrame(sl, f); !more {
			if !ok {
				b.run = run{}
			}
			return ok
		}
	}
	return true
}

// handed takes note that a stream was handed so many more frames of its set.
func (s *Shard) handed(sl *slot, frames int) {
	if frames > 0 {
		sl.count += uint64(frames)
		sl.pos = s.sets[sl.set].list[s.batch.first+frames-1].Position()
		s.now.Deliveries += uint64(frames)
	}
}

// serve hands a stream what comes next, and does what follows from that. It may end the
// stream.
func (s *Shard) serve(i uint32) {
	if s.slots[i].sink == Socket {
		s.serveSocket(i)
	} else {
		s.offer(i)
	}
}

// Send gives a stream what goes out before anything else, and the position that the
// client has with it. The slice may be shared; it is only read.
func (s *Shard) Send(slot uint32, frames []Frame, position uint64) {
	sl := &s.slots[slot]
	sl.pos = position
	x := s.unusual(slot)
	if len(x.queue) > 0 {
		frames = slices.Concat(x.queue, frames)
	}
	x.queue = frames
	if !sl.stalled {
		s.serve(slot)
	}
}

// Finish ends a stream cleanly, after what it was sent.
func (s *Shard) Finish(slot uint32) {
	sl := &s.slots[slot]
	s.leaveState(sl)
	sl.state = closing
	s.Send(slot, finalFrames(sl.sink), sl.pos)
}

// proceed does what comes when a stream was handed all that it had of its own.
func (s *Shard) proceed(i uint32) {
	sl := &s.slots[i]
	if sl.stalled {
		sl.stalled = false
		s.now.Stalled--
		s.keepFor(sl)
	}
	if sl.state == closing {
		s.closedOut(i)
		return
	}
	if sl.rare {
		s.forget(i)
	}
	set := s.sets[sl.set]
	switch {
	case sl.state == detached:
		s.feed.Written(i)
	case sl.count < set.base:
		s.feed.Resettle(i)
	case sl.state == live && sl.count < set.total():
		s.fallBehind(i)
	case sl.state == behind && sl.sink != Socket && sl.count < set.total():
		s.offer(i)
	case sl.state == behind && sl.sink != Socket:
		s.caughtUp(sl)
	case s.draining:
		s.mark(set)
	}
}

// closedOut does what comes when a stream that is closing was handed everything.
func (s *Shard) closedOut(i uint32) {
	sl := &s.slots[i]
	ending := s.endingOf(i)
	switch {
	case ending != nil && (!ending.Clean || sl.sink != Socket):
		s.end(i, Concluded, nil)
	case sl.sink != Socket:
		s.end(i, Ended, nil)
	default:
		s.shutSocket(sl)
		s.unusual(i).since = s.time
	}
}

// body returns the event that a chunk of an HTTP/1.1 body holds.
func body(chunk []byte) []byte {
	for i, c := range chunk {
		if c == '\n' {
			return chunk[i+1 : len(chunk)-len("\r\n")]
		}
	}
	return chunk
}
