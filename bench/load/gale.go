//go:build linux

package main

import (
	"errors"
	"fmt"
	"syscall"
)

// A gale is subscribers that stay, whose live messages are timed, and others that
// drop and come back. Each of the two has an epoll descriptor of its own, so that
// those who stay are read often, however much there is to read for the rest: what
// is measured must not be a queue in this program. It belongs to one goroutine.
type gale struct {
	others, returning *crowd
	live, history     *publisher // of what each of the two gets; the same when they have one topic
	all               int        // an epoll descriptor for those of the crowds and for live

	interval int64 // between messages, in nanoseconds; 0 when none is published
	due      int64 // when the next one is

	samples    []sample
	goals      []uint32 // of each that comes back: what it expects next when it has caught up; 0 when it has
	caught     int
	lastCaught int64
	missing    int
	disorder   int
}

// A sample is how long one message took to one of the others.
type sample struct {
	number  uint32
	latency int64 // in nanoseconds
}

// newGale makes a gale of which nobody is connected yet, with room for so many
// samples. All have the same topic, or each crowd has one of its own.
func newGale(t target, others, returning, samples int, apart bool) (*gale, error) {
	g := &gale{samples: make([]sample, 0, samples), goals: make([]uint32, returning)}
	var err error
	g.others, err = newCrowd(others, t.port, func(sub int, at int64, number uint32) {
		g.account(&g.others.subs[sub], number)
		if len(g.samples) < cap(g.samples) {
			g.samples = append(g.samples, sample{number, g.others.polled - at})
		}
	})
	if err != nil {
		return nil, err
	}
	g.returning, err = newCrowd(returning, t.port, func(i int, _ int64, number uint32) {
		sub := &g.returning.subs[i]
		g.account(sub, number)
		if goal := g.goals[i]; goal > 0 && sub.next >= goal {
			g.goals[i] = 0
			g.caught++
			g.lastCaught = now()
		}
	})
	if err != nil {
		return nil, err
	}
	if g.history, err = newPublisher(t, "bench.storm"); err != nil {
		return nil, err
	}
	g.live = g.history
	if apart {
		if g.live, err = newPublisher(t, "bench.live"); err != nil {
			return nil, err
		}
	}
	if g.all, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	for _, fd := range []int{g.others.epoll, g.returning.epoll, g.live.fd} {
		event := syscall.EpollEvent{Events: syscall.EPOLLIN}
		if err := syscall.EpollCtl(g.all, syscall.EPOLL_CTL_ADD, fd, &event); err != nil {
			return nil, fmt.Errorf("epoll_ctl: %w", err)
		}
	}
	return g, nil
}

// account compares a message with what its subscriber expects.
func (g *gale) account(sub *subscriber, number uint32) {
	if number < sub.next {
		g.disorder++
		return
	}
	g.missing += int(number - sub.next)
	sub.next = number + 1
}

// owed returns how many messages have not come to those who are connected, and to
// those whom the server has closed.
func (g *gale) owed() int {
	n := 0
	for i := range g.others.subs {
		n += int(g.live.posted - g.others.subs[i].next)
	}
	for i := range g.returning.subs {
		n += int(g.history.posted - g.returning.subs[i].next)
	}
	return n
}

// subscribe connects all of a crowd, from now on.
func (g *gale) subscribe(c *crowd) error {
	p := g.history
	if c == g.others {
		p = g.live
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

// step publishes what is due and reads what has come, for up to most of those who
// come back. When nothing has come it waits up to wait milliseconds.
func (g *gale) step(most, wait int) error {
	if g.interval > 0 && now() >= g.due {
		if err := g.live.post(); err != nil {
			return err
		}
		g.due += g.interval
	}
	if g.live.outstanding() > 0 {
		if err := g.live.read(); err != nil {
			return err
		}
	}
	n, err := g.others.poll(len(g.others.events), 0)
	if err != nil {
		return err
	}
	m, err := g.returning.poll(most, 0)
	if err != nil {
		return err
	}
	if n+m == 0 && wait > 0 {
		var events [3]syscall.EpollEvent
		if _, err := syscall.EpollWait(g.all, events[:], wait); err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("epoll_wait: %w", err)
		}
	}
	return nil
}

// few and some are how many of those who come back are read in one step: few
// while others of them are late to connect.
const few, some = 4, 16

// run takes steps until done says so.
func (g *gale) run(done func() bool) error {
	for !done() {
		if err := g.step(some, 1); err != nil {
			return err
		}
	}
	return nil
}

// runUntil takes steps until a time.
func (g *gale) runUntil(t int64) error {
	return g.run(func() bool { return now() >= t })
}

// between is how many connections are opened or closed from one step to the next.
const between = 16

// drop closes the connections of those who will come back.
func (g *gale) drop() error {
	for i := range g.returning.subs {
		g.returning.disconnect(i)
		if i%between == between-1 {
			if err := g.step(some, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// comeBack connects them again, evenly until the time within, counted from the
// time dropped. The message number next is the first that they have not had.
func (g *gale) comeBack(next int, dropped, within int64) error {
	request := subscription(g.history.target.addr, g.history.topic, g.history.ids[next-1])
	began := now()
	left := max(dropped+within-began, 0)
	for i := range g.returning.subs {
		at := began + left*int64(i+1)/int64(len(g.returning.subs))
		if i%between == 0 {
			if err := g.step(few, 0); err != nil {
				return err
			}
		}
		if err := g.runUntil(at); err != nil {
			return err
		}
		g.goals[i] = g.history.posted
		if err := g.returning.connect(i, request, uint32(next)); err != nil {
			return err
		}
	}
	return nil
}

// latencies returns those of the messages from one number to before another.
func (g *gale) latencies(from, to uint32) []int64 {
	var found []int64
	for _, s := range g.samples {
		if from <= s.number && s.number < to {
			found = append(found, s.latency)
		}
	}
	return found
}
