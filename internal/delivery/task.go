package delivery

import (
	"errors"
	"sync/atomic"
)

// A Task carries one stream on a goroutine of its own: that of an HTTP handler, or of
// whoever ranges over a subscription. Unless noted, its methods are for that goroutine.
//
//	defer context.AfterFunc(ctx, t.Leave)()
//	defer t.Leave()
//	for t.Next() {
//		… t.Text() or t.Frames() …
//	}
//	reason, clean, err := t.Outcome()
type Task struct {
	shard *Shard
	sink  Sink
	abort func()        // nil, or breaks off a write that does not return; for any goroutine, once
	wake  chan struct{} // has room for one

	working bool          // it has work that it has not said to be done
	pieces  atomic.Uint32 // of its work that are done: see Progress

	// The shard's until it wakes the task, then the task's until that asks for more.
	text   []byte
	frames []Frame

	// The shard's.
	stream Stream
	seen   uint32 // of pieces

	// Guarded by the lock of the shard's baton.
	place  taskPlace
	over   bool // the stream has ended, or the goroutine has left
	reason Reason
	clean  bool
	err    error
}

// ErrConcluded is the error of a task whose stream was ended by an [Ending] that is not
// clean.
var ErrConcluded = errors.New("delivery: the stream was ended")

// NewTask returns a task for a stream that is to be opened, and picks its shard. abort
// may be nil. It is called on a goroutine of its own, at most once, when the task is to
// end while it works. Methods of g may be called concurrently.
func (g *Group) NewTask(sink Sink, abort func()) *Task {
	return &Task{shard: g.pick(), sink: sink, abort: abort, wake: make(chan struct{}, 1)}
}

// Shard returns the task's shard, which has to open a stream for it.
func (t *Task) Shard() *Shard { return t.shard }

// Next says that the work that the task has is done, and waits for more. It returns false
// when the stream has ended, or Leave was called.
func (t *Task) Next() bool {
	if t.working {
		t.working, t.text = false, nil
		clear(t.frames)
		t.shard.release(t)
	}
	for {
		<-t.wake // a select with the end of a context would cost as much again
		work, over := t.shard.start(t)
		if work {
			t.working = true
			return true
		}
		if over {
			return false
		}
	}
}

// Text returns the work of a writer: events as they stand in an event stream. The bytes
// never change, and stay valid.
func (t *Task) Text() []byte { return t.text }

// Frames returns the work of an iterator, valid until the next call of Next.
func (t *Task) Frames() []Frame { return t.frames }

// Progress says that a piece of the work is done: the write timeout begins anew.
func (t *Task) Progress() { t.pieces.Add(1) }

// Leave ends the stream if it has not ended. The shard does not use the task after that,
// and may still call its abort function. It must be called. It is for any goroutine, and
// calling it again does nothing.
func (t *Task) Leave() {
	if t.shard.abandon(t) {
		t.shard.Do(func() {
			if t.shard.Is(t.stream) && t.shard.taskOf(t.stream.Slot) == t {
				t.shard.end(t.stream.Slot, Left, nil)
			}
		})
	}
}

// Outcome returns why the stream has ended, whether its response is to end as one that is
// complete, and the error that it has ended with, if any. Before the stream has ended that
// is Left.
func (t *Task) Outcome() (reason Reason, clean bool, err error) {
	b := &t.shard.baton
	b.mu.Lock()
	defer b.mu.Unlock()
	return t.reason, t.clean, t.err
}

// OpenTask makes a task a stream of a set. It is detached, and what it gets first is for
// Send to say. Form is that of its frames; tag is the feed's. When the shard is closing ok
// is false, and the task is over.
func (s *Shard) OpenTask(t *Task, set *Set, form, tag uint8) (slotNumber uint32, ok bool) {
	if s.ending {
		s.finishTask(t, Cut, false, nil)
		return 0, false
	}
	var handle int32
	if n := len(s.freeTasks); n > 0 {
		handle = s.freeTasks[n-1]
		s.freeTasks = s.freeTasks[:n-1]
		s.tasks[handle] = t
	} else {
		handle = int32(len(s.tasks))
		s.tasks = append(s.tasks, t)
	}
	i, gen := s.slotOf()
	s.occupy(i, slot{handle: handle, gen: gen, sink: t.sink, form: form, tag: tag}, set)
	t.stream = s.Name(i)
	return i, true
}

// taskOf returns the task that carries a stream, or nil.
func (s *Shard) taskOf(i uint32) *Task {
	if s.slots[i].sink == Socket {
		return nil
	}
	return s.tasks[s.slots[i].handle]
}

// closeTask tells a task that its stream has ended.
func (s *Shard) closeTask(sl *slot, reason Reason, clean bool, err error) {
	t := s.tasks[sl.handle]
	s.tasks[sl.handle] = nil
	s.freeTasks = append(s.freeTasks, sl.handle)
	if reason == Concluded && !clean {
		err = ErrConcluded
	}
	if s.finishTask(t, reason, clean, err) && sl.busy && t.abort != nil {
		go t.abort() // which may wait
	}
}

// offer has a task's stream wait for its turn to be handed what it is owed. When that is
// nothing the stream proceeds.
func (s *Shard) offer(i uint32) {
	sl := &s.slots[i]
	if sl.busy || sl.waiting {
		return
	}
	set := s.sets[sl.set]
	switch x := s.unusualOf(i); {
	case x != nil && len(x.queue) > 0:
		s.urgent.add(s.Name(i))
	case sl.state == behind && sl.count >= set.base && sl.count < set.total():
		s.owing.add(s.Name(i))
	default:
		s.proceed(i)
		return
	}
	sl.waiting = true
}

// hand prepares work for as many tasks as may wait for the baton, in turn for those that
// have something of their own and for those that are owed frames of their set.
func (s *Shard) hand() {
	if s.urgent.len() == 0 && s.owing.len() == 0 {
		return
	}
	for room := s.baton.room(); room > len(s.ready) && s.urgent.len()+s.owing.len() > 0; {
		if s.urgent.len() > 0 {
			s.prepare(s.urgent.take())
		}
		if s.owing.len() > 0 {
			s.prepare(s.owing.take())
		}
	}
	s.put(s.ready)
	clear(s.ready)
	s.ready = s.ready[:0]
}

// prepare gives a task its work, if there is any.
func (s *Shard) prepare(st Stream) {
	if !s.Is(st) {
		return
	}
	i := st.Slot
	sl := &s.slots[i]
	sl.waiting = false
	x := s.unusualOf(i)
	if !s.collect(sl, x) {
		s.end(i, Broken, errNoWire)
		return
	}
	b := &s.batch
	if b.n == 0 {
		s.proceed(i)
		return
	}
	t := s.tasks[sl.handle]
	if sl.sink == Writer {
		t.text = s.join(sl)
		s.now.Bytes += uint64(len(t.text))
	} else {
		t.frames = append(t.frames[:0], b.frames[:b.n]...)
		clear(b.frames[:b.n])
	}
	if x != nil {
		x.queue = x.queue[b.queued:]
	}
	s.handed(sl, b.n-b.queued)
	s.now.Writes++
	sl.busy, sl.last = true, s.clock
	if sl.state == behind && sl.count == s.sets[sl.set].total() {
		s.caughtUp(sl)
	}
	s.ready = append(s.ready, t)
}

// errNoWire is the error for a frame that has no wire form.
var errNoWire = errors.New("delivery: a frame has no wire form")

// A text is a run of a set's frames, joined.
type text struct {
	first uint64 // the count before its first frame
	n     int    // frames
	bytes []byte
}

// join returns the pieces of the batch in one. Those who are owed the same frames of a set
// share them.
func (s *Shard) join(sl *slot) []byte {
	b := &s.batch
	if b.n == 1 {
		return b.pieces[0]
	}
	set := s.sets[sl.set]
	cached := &set.joined[sl.form]
	if b.queued == 0 && cached.first == sl.count && cached.n == b.n {
		return cached.bytes
	}
	joined := make([]byte, 0, b.bytes)
	for _, piece := range b.pieces[:b.n] {
		joined = append(joined, piece...)
	}
	if b.queued == 0 {
		*cached = text{sl.count, b.n, joined}
	}
	return joined
}

// takeFinished goes on with the streams whose tasks have done their work.
func (s *Shard) takeFinished() {
	s.finished = s.baton.takeDone(s.finished)
	for _, st := range s.finished {
		if !s.Is(st) {
			continue
		}
		sl := &s.slots[st.Slot]
		sl.busy = false
		if sl.stalled {
			sl.stalled = false
			s.now.Stalled--
		}
		s.keepFor(sl)
		s.offer(st.Slot)
	}
	s.finished = s.finished[:0]
}

// lookAfter looks whether a task that works gets on with it.
func (s *Shard) lookAfter(i uint32) {
	sl := &s.slots[i]
	t := s.tasks[sl.handle]
	if pieces := t.pieces.Load(); pieces != t.seen {
		t.seen, sl.last = pieces, s.clock
		return
	}
	silent := s.clock - sl.last
	if silent > 1 && !sl.stalled {
		sl.stalled = true
		s.now.Stalled++
		s.mark(s.sets[sl.set]) // which need not keep frames for it
	}
	if sl.sink == Writer && s.patient > 0 && silent > s.patient {
		s.end(i, TimedOut, nil)
	}
}
