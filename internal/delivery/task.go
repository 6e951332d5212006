package delivery

import (
	"errors"
	"sync/atomic"
)

// A Task carries one stream on its own goroutine: an HTTP handler, or a loop over a
// subscription. Unless noted, its methods must be called on that goroutine.
//
//	defer context.AfterFunc(ctx, t.Leave)()
//	defer t.Leave()
//	for t.Next() {
//		… t.Text() or t.Frames() …
//	}
//	reason, err := t.Outcome()
type Task struct {
	shard *Shard
	sink  Sink
	abort func()        // nil, or breaks off a blocked write; called once, on any goroutine
	wake  chan struct{} // has capacity 1

	working bool          // has work that was not reported as done
	pieces  atomic.Uint32 // finished pieces of work: see Progress

	// Owned by the shard until it wakes the task, then by the task until it calls Next.
	text   []byte
	frames []Frame

	// Owned by the shard.
	stream     Stream
	seenPieces uint32 // pieces at the last checkTask
	queued     int    // how many of frames are not of the set
	pins       []Pinner
	joined     *joinedFrames // what text is, if it was joined

	// Guarded by the baton's mu.
	batonState batonState
	over       bool // the stream has ended, or the goroutine has left
	reason     Reason
	err        error
}

// NewTask returns a task, and picks its shard. abort may be nil. It is called at most once,
// on a goroutine of its own, when the stream ends while the task works.
func (g *Group) NewTask(sink Sink, abort func()) *Task {
	return &Task{shard: g.pick(), sink: sink, abort: abort, wake: make(chan struct{}, 1)}
}

// Shard returns the task's shard. [Shard.OpenTask] must open the task's stream there.
func (t *Task) Shard() *Shard { return t.shard }

// Next reports that the task's work is done, and waits for more. It returns false when the
// stream has ended or Leave was called.
func (t *Task) Next() bool {
	if t.working {
		t.working = false
		t.shard.reportDone(t)
	}
	for {
		<-t.wake // a select with a context's Done would cost twice as much
		work, over := t.shard.startTask(t)
		if work {
			t.working = true
			return true
		}
		if over {
			return false
		}
	}
}

// Text returns the work of a writer: events in the text/event-stream format. The bytes never
// change and stay valid.
func (t *Task) Text() []byte { return t.text }

// Frames returns the work of an iterator, valid until the next call of Next.
func (t *Task) Frames() []Frame { return t.frames }

// Progress reports that a piece of the work is done. It restarts the write timeout.
func (t *Task) Progress() { t.pieces.Add(1) }

// Leave ends the stream if it is open. After that, the shard does not use the task, but may
// still call abort. Every task must call Leave. Any goroutine may call it, and further calls
// do nothing.
func (t *Task) Leave() {
	if t.shard.leaveTask(t) {
		t.shard.Do(func() {
			if t.shard.Is(t.stream) && t.shard.taskOf(t.stream.Slot) == t {
				t.shard.end(t.stream.Slot, Left, nil)
			}
		})
	}
}

// Outcome returns why the stream has ended, and the error of [Shard.Break]. The reason is Left
// until the stream has ended.
func (t *Task) Outcome() (reason Reason, err error) {
	b := &t.shard.baton
	b.mu.Lock()
	defer b.mu.Unlock()
	return t.reason, t.err
}

// OpenTask makes a task a stream of a set. The stream is detached: the feed must send its
// first frames. form is the form of its frames, and tag is for the feed. If the shard is
// closing, ok is false and the task is over.
func (s *Shard) OpenTask(t *Task, set *Set, form, tag uint8) (slotNumber uint32, ok bool) {
	if s.closing {
		s.finishTask(t, Cut, nil)
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
	i, gen := s.freeSlot()
	s.occupy(i, slot{handle: handle, gen: gen, sink: t.sink, form: form, tag: tag}, set)
	t.stream = s.Name(i)
	return i, true
}

// taskOf returns the task of a stream, or nil if there is none.
func (s *Shard) taskOf(i uint32) *Task {
	if s.slots[i].sink == Socket {
		return nil
	}
	return s.tasks[s.slots[i].handle]
}

// closeTask tells a task that its stream has ended. If the task is busy, it calls abort.
func (s *Shard) closeTask(sl *slot, reason Reason, err error) {
	t := s.tasks[sl.handle]
	t.unpin()
	s.tasks[sl.handle] = nil
	s.freeTasks = append(s.freeTasks, sl.handle)
	if s.finishTask(t, reason, err) && sl.busy && t.abort != nil {
		go t.abort() // it may block
	}
}

// queueTask queues a task's stream for prepareTasks. If there is nothing to hand to it, the
// stream continues with afterPending.
func (s *Shard) queueTask(i uint32) {
	sl := &s.slots[i]
	if sl.busy || sl.waiting {
		return
	}
	set := s.sets[sl.set]
	switch pw := s.pendingWriteOf(i); {
	case pw != nil && len(pw.queue) > 0:
		s.pendingTasks.add(s.Name(i))
	case sl.state == lagging && sl.count >= set.base && sl.count < set.total():
		s.laggingTasks.add(s.Name(i))
	default:
		s.afterPending(i)
		return
	}
	sl.waiting = true
}

// prepareTasks prepares work for as many tasks as may wait for the baton. It alternates
// between pendingTasks and laggingTasks.
func (s *Shard) prepareTasks() {
	if s.pendingTasks.len() == 0 && s.laggingTasks.len() == 0 {
		return
	}
	for space := s.baton.space(); space > len(s.prepared) && s.pendingTasks.len()+s.laggingTasks.len() > 0; {
		if s.pendingTasks.len() > 0 {
			s.prepareTask(s.pendingTasks.take())
		}
		if s.laggingTasks.len() > 0 {
			s.prepareTask(s.laggingTasks.take())
		}
	}
	s.queueForBaton(s.prepared)
	clear(s.prepared)
	s.prepared = s.prepared[:0]
}

// prepareTask gives a task its work, if there is any.
func (s *Shard) prepareTask(st Stream) {
	if !s.Is(st) {
		return
	}
	i := st.Slot
	sl := &s.slots[i]
	sl.waiting = false
	pw := s.pendingWriteOf(i)
	if !s.collect(sl, pw) {
		s.end(i, Broken, errNoWire)
		return
	}
	out := &s.out
	if out.n == 0 {
		s.afterPending(i)
		return
	}
	t := s.tasks[sl.handle]
	if sl.sink == Writer {
		t.text = s.textOf(sl, t)
		s.stats.Bytes += uint64(len(t.text))
	} else {
		t.frames, t.queued = append(t.frames[:0], out.frames[:out.n]...), out.queued
		clear(out.frames[:out.n])
	}
	if pw != nil {
		pw.advance(out.queued)
	}
	s.countDelivered(sl, out.n-out.queued)
	s.stats.Writes++
	sl.busy, sl.lastActive = true, s.clock
	if sl.state == lagging && sl.count == s.sets[sl.set].total() {
		s.makeLive(sl)
	}
	s.prepared = append(s.prepared, t)
}

// errNoWire is the error for a frame that has no wire form.
var errNoWire = errors.New("delivery: a frame has no wire form")

// joinedFrames are consecutive frames of a set, joined for writers.
type joinedFrames struct {
	first uint64 // count before the first frame
	n     int    // number of frames
	bytes []byte
	users int            // busy tasks that have the bytes
	in    **joinedFrames // where others find them, or nil
	count Budget
}

// leave is called when a task no longer has the bytes. The last one forgets them.
func (j *joinedFrames) leave() {
	if j.users--; j.users > 0 {
		return
	}
	j.count.Give(len(j.bytes))
	if j.in != nil && *j.in == j {
		*j.in = nil
	}
}

// textOf returns the pieces of s.out as one text, which the task has until unpin. Writers that
// lack the same frames of a set share it.
func (s *Shard) textOf(sl *slot, t *Task) []byte {
	out, set := &s.out, s.sets[sl.set]
	if out.n == 1 {
		if out.queued == 0 {
			t.pin(set.frames[out.first:out.first+1], sl.form)
		}
		return out.pieces[0]
	}
	shared := &set.joined[sl.form]
	if out.queued > 0 {
		shared = nil
	}
	if shared == nil || *shared == nil || (*shared).first != sl.count || (*shared).n != out.n {
		t.joined = s.join(sl.count, shared)
	} else {
		t.joined = *shared
	}
	t.joined.users++
	return t.joined.bytes
}

// join joins the pieces of s.out. Others find the result in shared, if that is not nil.
func (s *Shard) join(first uint64, shared **joinedFrames) *joinedFrames {
	out := &s.out
	j := &joinedFrames{first: first, n: out.n, bytes: make([]byte, 0, out.bytes), in: shared, count: s.opts.Pinned}
	for _, piece := range out.pieces[:out.n] {
		j.bytes = append(j.bytes, piece...)
	}
	j.count.Add(len(j.bytes))
	if shared != nil {
		*shared = j
	}
	return j
}

// takeFinished continues the streams whose tasks have finished their work.
func (s *Shard) takeFinished() {
	s.finished = s.baton.takeDone(s.finished)
	for _, st := range s.finished {
		if !s.Is(st) {
			continue
		}
		sl := &s.slots[st.Slot]
		sl.busy = false
		s.tasks[sl.handle].unpin()
		if sl.stalled {
			sl.stalled = false
			s.stats.Stalled--
		}
		s.keepFramesFor(sl)
		s.queueTask(st.Slot)
	}
	s.finished = s.finished[:0]
}

// checkTask checks whether a busy task makes progress.
func (s *Shard) checkTask(i uint32) {
	sl := &s.slots[i]
	t := s.tasks[sl.handle]
	if pieces := t.pieces.Load(); pieces != t.seenPieces {
		t.seenPieces, sl.lastActive = pieces, s.clock
		return
	}
	silent := s.clock - sl.lastActive
	if silent > 1 && !sl.stalled {
		sl.stalled = true
		s.stats.Stalled++
		s.markDirty(s.sets[sl.set]) // which need not keep frames for a stalled task
		if sl.sink == Iterator {
			s.pinFrames(t)
		}
	}
	if sl.sink == Writer && s.writeTimeoutTicks > 0 && silent > s.writeTimeoutTicks {
		s.end(i, TimedOut, nil)
	}
}
