package delivery

import "sync"

// A baton has the tasks of a shard start one after the other: a task that was woken wakes
// the next one before it works. So few tasks are runnable at a time, and those that come
// late get more at once.
type baton struct {
	mu     sync.Mutex
	queue  queue[*Task] // tasks that have work, and wait for the baton
	holder *Task        // has been woken, and has not started
	done   []Stream     // whose tasks have done their work
}

// A taskPlace says where a task stands with the baton.
type taskPlace uint8

const (
	elsewhere taskPlace = iota
	queued
	holding
)

const (
	mostQueued = 64 // tasks that have work and wait for the baton
	fewQueued  = 16 // the shard prepares more when so many are left
	manyDone   = 32 // the shard looks at those that are done when there are so many
)

// room returns how many more tasks may be put.
func (b *baton) room() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return mostQueued - b.queue.len()
}

// takeDone appends the streams whose tasks are done to a slice.
func (b *baton) takeDone(to []Stream) []Stream {
	b.mu.Lock()
	defer b.mu.Unlock()
	to = append(to, b.done...)
	b.done = b.done[:0]
	return to
}

// put has tasks that have work wait for the baton, and passes it if nobody holds it.
func (s *Shard) put(tasks []*Task) {
	if len(tasks) == 0 {
		return
	}
	b := &s.baton
	b.mu.Lock()
	for _, t := range tasks {
		t.place = queued
		b.queue.add(t)
	}
	if b.holder == nil {
		b.pass()
	}
	b.mu.Unlock()
}

// pass wakes the next task, and reports whether the shard should look after the queue.
// Callers hold mu.
func (b *baton) pass() (low bool) {
	b.holder = nil
	before := b.queue.len()
	for b.queue.len() > 0 {
		t := b.queue.take()
		if t.over { // it was woken for that
			t.place = elsewhere
			continue
		}
		t.place, b.holder = holding, t
		t.rouse()
		break
	}
	return b.holder == nil || before > fewQueued && b.queue.len() <= fewQueued
}

// rouse wakes a task. A wake-up for two reasons is one.
func (t *Task) rouse() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// start is called by a task that was woken. It passes the baton on, if the task holds it,
// and reports whether the task has work, or is over.
func (s *Shard) start(t *Task) (work, over bool) {
	b := &s.baton
	b.mu.Lock()
	low := false
	if t.place == holding {
		t.place = elsewhere
		low = b.pass()
		work = !t.over
	}
	over = t.over
	b.mu.Unlock()
	if low {
		s.Wake()
	}
	return work, over
}

// release takes note that a task has done its work.
func (s *Shard) release(t *Task) {
	b := &s.baton
	b.mu.Lock()
	b.done = append(b.done, t.stream)
	// While somebody holds the baton the shard will be woken at the latest when
	// there is nobody to pass it to.
	wake := b.holder == nil || len(b.done) == manyDone
	b.mu.Unlock()
	if wake {
		s.Wake()
	}
}

// finishTask tells a task that its stream has ended, and reports whether it did not know.
func (s *Shard) finishTask(t *Task, reason Reason, clean bool, err error) bool {
	b := &s.baton
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.over {
		return false
	}
	t.over, t.reason, t.clean, t.err = true, reason, clean, err
	t.rouse()
	return true
}

// abandon takes note that a task's goroutine leaves, and reports whether the stream may
// not have ended.
func (s *Shard) abandon(t *Task) bool {
	b := &s.baton
	b.mu.Lock()
	was := t.over
	t.over = true
	t.rouse() // whoever else has called Leave
	low := false
	if t.place == holding {
		t.place = elsewhere
		low = b.pass()
	}
	b.mu.Unlock()
	if low {
		s.Wake()
	}
	return !was
}
