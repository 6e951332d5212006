//go:build linux

package main

import (
	"errors"
	"fmt"
	"syscall"
)

// A stormRun has subscribers that stay and subscribers that drop and come back. It
// times the live messages of those that stay. Each set has its own epoll
// descriptor, so that the staying ones are read often, whatever the rest receive: a
// queue in this program must not count. One goroutine owns the run.
type stormRun struct {
	others, returning *subscribers
	live, history     *publisher // for others and for returning; the same if they share a topic
	all               int        // an epoll descriptor for both sets and for live

	interval int64 // between messages, in nanoseconds; 0 when none is published
	due      int64 // when the next message is due

	samples    []sample
	goals      []uint32 // per returning subscriber: the value of next that means caught up; then 0
	caught     int
	lastCaught int64
	missing    int
	disorder   int
}

// A sample is the latency of one message to one of the others.
type sample struct {
	number  uint32
	latency int64 // in nanoseconds
}

// newStormRun returns a run without connections, with room for that many samples.
// All share one topic, or each set has its own if apart is true.
func newStormRun(t target, others, returning, samples int, apart bool) (*stormRun, error) {
	r := &stormRun{samples: make([]sample, 0, samples), goals: make([]uint32, returning)}
	var err error
	r.others, err = newSubscribers(others, t.port, func(sub int, at int64, number uint32) {
		r.account(&r.others.subs[sub], number)
		if len(r.samples) < cap(r.samples) {
			r.samples = append(r.samples, sample{number, r.others.polled - at})
		}
	})
	if err != nil {
		return nil, err
	}
	r.returning, err = newSubscribers(returning, t.port, func(i int, _ int64, number uint32) {
		sub := &r.returning.subs[i]
		r.account(sub, number)
		if goal := r.goals[i]; goal > 0 && sub.next >= goal {
			r.goals[i] = 0
			r.caught++
			r.lastCaught = now()
		}
	})
	if err != nil {
		return nil, err
	}
	if r.history, err = newPublisher(t, "bench.storm"); err != nil {
		return nil, err
	}
	r.live = r.history
	if apart {
		if r.live, err = newPublisher(t, "bench.live"); err != nil {
			return nil, err
		}
	}
	if r.all, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	for _, fd := range []int{r.others.epoll, r.returning.epoll, r.live.fd} {
		event := syscall.EpollEvent{Events: syscall.EPOLLIN}
		if err := syscall.EpollCtl(r.all, syscall.EPOLL_CTL_ADD, fd, &event); err != nil {
			return nil, fmt.Errorf("epoll_ctl: %w", err)
		}
	}
	return r, nil
}

// account compares a message with what its subscriber expects.
func (r *stormRun) account(sub *subscriber, number uint32) {
	if number < sub.next {
		r.disorder++
		return
	}
	r.missing += int(number - sub.next)
	sub.next = number + 1
}

// owed returns how many messages have not arrived at their subscribers, including
// subscribers that the server has closed.
func (r *stormRun) owed() int {
	n := 0
	for i := range r.others.subs {
		n += int(r.live.posted - r.others.subs[i].next)
	}
	for i := range r.returning.subs {
		n += int(r.history.posted - r.returning.subs[i].next)
	}
	return n
}

// subscribe connects a set of subscribers. They get only new messages.
func (r *stormRun) subscribe(c *subscribers) error {
	p := r.history
	if c == r.others {
		p = r.live
	}
	request := subscription(p.target.addr, p.topic, "")
	for i := range c.subs {
		if err := c.connect(i, request, p.posted); err != nil {
			return err
		}
		if err := c.waitOpened(i - connecting); err != nil {
			return err
		}
	}
	return c.waitOpened(len(c.subs))
}

// step publishes a message if one is due, and reads from up to most of the
// returning subscribers. If nothing has arrived, it waits up to wait milliseconds.
func (r *stormRun) step(most, wait int) error {
	if r.interval > 0 && now() >= r.due {
		if err := r.live.post(); err != nil {
			return err
		}
		r.due += r.interval
	}
	if r.live.outstanding() > 0 {
		if err := r.live.read(); err != nil {
			return err
		}
	}
	n, err := r.others.poll(len(r.others.events), 0)
	if err != nil {
		return err
	}
	m, err := r.returning.poll(most, 0)
	if err != nil {
		return err
	}
	if n+m == 0 && wait > 0 {
		var events [3]syscall.EpollEvent
		if _, err := syscall.EpollWait(r.all, events[:], wait); err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("epoll_wait: %w", err)
		}
	}
	return nil
}

// few and some are how many returning subscribers are read in one step. few applies
// while others are late to connect.
const few, some = 4, 16

// run takes steps until done returns true.
func (r *stormRun) run(done func() bool) error {
	for !done() {
		if err := r.step(some, 1); err != nil {
			return err
		}
	}
	return nil
}

// runUntil takes steps until the time t.
func (r *stormRun) runUntil(t int64) error {
	return r.run(func() bool { return now() >= t })
}

// between is how many connections are opened or closed between two steps.
const between = 16

// drop closes the connections of the returning subscribers.
func (r *stormRun) drop() error {
	for i := range r.returning.subs {
		r.returning.disconnect(i)
		if i%between == between-1 {
			if err := r.step(some, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// comeBack reconnects the returning subscribers evenly, until within has passed
// since dropped. The number of the first message that they lack is next.
func (r *stormRun) comeBack(next int, dropped, within int64) error {
	request := subscription(r.history.target.addr, r.history.topic, r.history.ids[next-1])
	began := now()
	left := max(dropped+within-began, 0)
	for i := range r.returning.subs {
		at := began + left*int64(i+1)/int64(len(r.returning.subs))
		if i%between == 0 {
			if err := r.step(few, 0); err != nil {
				return err
			}
		}
		if err := r.runUntil(at); err != nil {
			return err
		}
		r.goals[i] = r.history.posted
		if err := r.returning.connect(i, request, uint32(next)); err != nil {
			return err
		}
	}
	return nil
}

// latencies returns the latencies of the messages from number from to before to.
func (r *stormRun) latencies(from, to uint32) []int64 {
	var found []int64
	for _, s := range r.samples {
		if from <= s.number && s.number < to {
			found = append(found, s.latency)
		}
	}
	return found
}
