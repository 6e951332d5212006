package delivery

import "sync"

// A baton starts the tasks of a shard one after the other: a woken task wakes the next one
// before it works. So few tasks are runnable at a time, and a task that starts late gets
// more frames at once.
type baton struct {
	mu     sync.Mutex
	queue  queue[*Task] // tasks that have work and wait for the baton
	holder *Task        // the task that has been woken and has not started, or nil
	done   []Stream     // streams whose tasks have finished their work
}

// A batonState says whether a task waits for the baton or holds it.
type batonState uint8

const (
	unqueued batonState = iota
	queued
	holding
)

const (
	maxQueued = 64 // the most tasks that wait for the baton
	lowQueued = 16 // the shard prepares work for more tasks when so few are left
	manyDone  = 32 // the shard is woken when so many tasks have finished their work
)

// space returns how many more tasks can wait for the baton.
func (b *baton) space() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maxQueued - b.queue.len()
}

// takeDone moves the streams in done to the end of a slice.
func (b *baton) takeDone(to []Stream) []Stream {
	b.mu.Lock()
	defer b.mu.Unlock()
	to = append(to, b.done...)
	b.done = b.done[:0]
	return to
}

// queueForBaton queues tasks that have work. If no task holds the baton, it passes the baton.
func (s *Shard) queueForBaton(tasks []*Task) {
	if len(tasks) == 0 {
		return
	}
	b := &s.baton
	b.mu.Lock()
	for _, t := range tasks {
		t.batonState = queued
		b.queue.add(t)
	}
	if b.holder == nil {
		b.pass()
	}
	b.mu.Unlock()
}

// pass gives the baton to the next task and wakes that task. It reports whether to wake the
// shard: the queue runs low, or no task holds the baton. Callers hold mu.
func (b *baton) pass() (low bool) {
	b.holder = nil
	before := b.queue.len()
	for b.queue.len() > 0 {
		t := b.queue.take()
		if t.over { // finishTask or leaveTask has woken it already
			t.batonState = unqueued
			continue
		}
		t.batonState, b.holder = holding, t
		t.wakeUp()
		break
	}
	return b.holder == nil || before > lowQueued && b.queue.len() <= lowQueued
}

// wakeUp wakes a task. Several calls before the task runs wake it once.
func (t *Task) wakeUp() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// startTask is called by a woken task. If the task holds the baton, startTask passes it on.
// It reports whether the task has work and whether the task is over.
func (s *Shard) startTask(t *Task) (work, over bool) {
	b := &s.baton
	b.mu.Lock()
	low := false
	if t.batonState == holding {
		t.batonState = unqueued
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

// reportDone records that a task has finished its work. The task calls it.
func (s *Shard) reportDone(t *Task) {
	b := &s.baton
	b.mu.Lock()
	t.text = nil
	clear(t.frames)
	t.frames = t.frames[:0]
	b.done = append(b.done, t.stream)
	// While a task holds the baton, there is no need to wake the shard: the last holder
	// wakes it.
	wake := b.holder == nil || len(b.done) == manyDone
	b.mu.Unlock()
	if wake {
		s.Wake()
	}
}

// finishTask tells a task that its stream has ended. It returns false if the task was over.
func (s *Shard) finishTask(t *Task, reason Reason, err error) bool {
	b := &s.baton
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.over {
		return false
	}
	t.over, t.reason, t.err = true, reason, err
	t.wakeUp()
	return true
}

// leaveTask records that a task's goroutine leaves. It returns false if the task was over.
func (s *Shard) leaveTask(t *Task) bool {
	b := &s.baton
	b.mu.Lock()
	ended := t.over
	t.over = true
	t.wakeUp() // Leave may have been called on another goroutine
	low := false
	if t.batonState == holding {
		t.batonState = unqueued
		low = b.pass()
	}
	b.mu.Unlock()
	if low {
		s.Wake()
	}
	return !ended
}
