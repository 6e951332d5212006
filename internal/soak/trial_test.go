//go:build unix

package soak_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A trial publishes a plan to a program while subscribers connect and disconnect. It is
// for the test's goroutine.
type trial struct {
	t      *testing.T
	server *process
	r      *rand.Rand
	plan   []message
	last   int // the number of the first of the last messages, one on each topic
	ledger *ledger
	pub    *publisher

	// maxLag, if not 0, is how many messages the slowest subscriber may be behind
	// before publishers wait for it. So subscribers stay within retention on any
	// machine.
	maxLag uint64

	// restarts is set if the test restarts the server.
	restarts bool

	ctx     context.Context
	fail    context.CancelCauseFunc
	subs    []*subscriber
	leave   context.CancelFunc // ends the subscribers
	leaving context.Context
	running sync.WaitGroup
	next    atomic.Int64 // the next message of the plan to publish
	acked   atomic.Int64
}

// newTrial starts the program on a path with the given flags, and plans n messages.
// share is the fraction of messages with a key.
func newTrial(t *testing.T, seed uint64, way path, n int, share float64, args ...string) *trial {
	tr := &trial{t: t, r: rand.New(rand.NewPCG(seed, 0)), restarts: share == 1}
	tr.plan, tr.last = plan(tr.r, n, share)
	tr.ledger = newLedger(tr.plan)
	tr.server = (&process{args: args, path: way}).serve(t)
	// A restarted server keeps its address.
	addr := tr.server.addr
	tr.pub = newPublisher(tr.ledger, func() string { return addr }, tr.restarts)
	ctx, fail := context.WithCancelCause(t.Context())
	tr.ctx, tr.fail = ctx, fail
	tr.leaving, tr.leave = context.WithCancel(ctx)
	t.Cleanup(func() {
		tr.leave()
		tr.fail(nil)
		tr.running.Wait()
		tr.pub.close()
	})
	return tr
}

// check fails the test at once if anything has failed.
func (tr *trial) check() {
	tr.t.Helper()
	if err := context.Cause(tr.ctx); err != nil {
		tr.t.Fatal(err)
	}
}

// goes runs part of the trial on a goroutine. An error fails the trial.
func (tr *trial) goes(f func() error) {
	tr.running.Go(func() {
		if err := f(); err != nil && tr.ctx.Err() == nil {
			tr.fail(err)
		}
	})
}

// await waits until a condition holds.
func (tr *trial) await(what func() string, holds func() bool) {
	tr.t.Helper()
	end := time.Now().Add(patience)
	for !holds() {
		tr.check()
		if time.Now().After(end) {
			tr.t.Fatalf("after %v: %s", patience, what())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// A kind describes a group of subscribers.
type kind struct {
	name    string
	count   int
	filters func(*rand.Rand) []string
	from    string
	life    func(r *rand.Rand, connection int) (messages int, lasts time.Duration)
	away    time.Duration // the longest pause between connections
	late    time.Duration // the longest delay before the first connection
}

// subscribe starts subscribers.
func (tr *trial) subscribe(kinds ...kind) {
	addr := tr.server.addr
	for _, k := range kinds {
		for i := range k.count {
			r := rand.New(rand.NewPCG(tr.r.Uint64(), 0))
			s := &subscriber{
				name:     fmt.Sprintf("%s-%d", k.name, i),
				filters:  k.filters(r),
				from:     k.from,
				envelope: r.IntN(8) == 0,
				plan:     tr.plan,
				r:        r,
				addr:     func() string { return addr },
				refusals: tr.restarts,
				life:     func(connection int) (int, time.Duration) { return k.life(r, connection) },
				pause: func() time.Duration {
					if r.IntN(3) == 0 {
						return 0
					}
					return rand.N(k.away + 1)
				},
			}
			late := time.Duration(0)
			if k.late > 0 {
				late = time.Duration(r.Int64N(int64(k.late)))
			}
			tr.subs = append(tr.subs, s)
			tr.goes(func() error {
				sleep(tr.leaving, late)
				return s.run(tr.leaving)
			})
		}
	}
}

// awaitOpen waits until each subscriber has had a tidings.open.
func (tr *trial) awaitOpen() {
	tr.t.Helper()
	waiting := func() *subscriber {
		for _, s := range tr.subs {
			if !s.opened.Load() {
				return s
			}
		}
		return nil
	}
	tr.await(func() string { return waiting().name + " has had no tidings.open" }, func() bool { return waiting() == nil })
}

// slowest returns the subscriber that is furthest behind.
func (tr *trial) slowest() (s *subscriber, at uint64) {
	at = math.MaxUint64
	for _, each := range tr.subs {
		if each.opened.Load() {
			if a := each.at.Load(); a < at {
				s, at = each, a
			}
		}
	}
	return s, at
}

// hold waits while some subscriber is more than maxLag behind.
func (tr *trial) hold() error {
	if tr.maxLag == 0 {
		return nil
	}
	for end := time.Now().Add(patience); ; sleep(tr.ctx, 2*time.Millisecond) {
		s, at := tr.slowest()
		switch {
		case s == nil || tr.ledger.head.Load() < at+tr.maxLag:
			return nil
		case tr.ctx.Err() != nil:
			return tr.ctx.Err()
		case time.Now().After(end):
			return fmt.Errorf("%s to %q is at %d since %v, but the log is at %d", s.name, s.filters, at, patience, tr.ledger.head.Load())
		}
	}
}

// publish publishes the plan up to a message. Several publishers do that at full speed,
// one message at a time or in batches.
func (tr *trial) publish(upTo int) {
	work := func(seed uint64) error {
		r := rand.New(rand.NewPCG(seed, 0))
		for tr.ctx.Err() == nil {
			most, batch := 40, r.IntN(2) == 0
			if batch {
				most = 200
			}
			n := int64(1 + r.IntN(most))
			first := tr.next.Add(n) - n
			end := min(int(first+n), upTo)
			if int(first) >= end {
				return nil
			}
			if err := tr.hold(); err != nil {
				return err
			}
			if batch {
				if err := tr.pub.batch(tr.ctx, int(first), end); err != nil {
					return fmt.Errorf("publish messages %d to %d at once: %w", first, end, err)
				}
				tr.acked.Add(int64(end) - first)
			} else {
				for i := int(first); i < end; i++ {
					if err := tr.pub.single(tr.ctx, i); err != nil {
						return fmt.Errorf("publish message %d: %w", i, err)
					}
					tr.acked.Add(1)
				}
			}
			if err := tr.ledger.ascending(int(first), end); err != nil {
				return err
			}
		}
		return nil
	}
	for range 8 {
		seed := tr.r.Uint64()
		tr.goes(func() error { return work(seed) })
	}
}

// awaitAcked waits until n messages of the plan are acknowledged.
func (tr *trial) awaitAcked(n int) {
	tr.t.Helper()
	tr.await(
		func() string { return fmt.Sprintf("%d messages of %d are acknowledged", tr.acked.Load(), n) },
		func() bool { return int(tr.acked.Load()) >= n },
	)
}

// finish publishes the last message of each topic, and waits until each subscriber has
// its last message. Then it compares the messages of each with the acknowledged ones.
func (tr *trial) finish() []stored {
	tr.t.Helper()
	tr.awaitAcked(tr.last)
	tr.awaitOpen()
	if err := tr.pub.batch(tr.ctx, tr.last, len(tr.plan)); err != nil {
		tr.t.Fatal(err)
	}
	order, err := tr.ledger.order()
	if err != nil {
		tr.t.Fatal(err)
	}
	if len(order) != len(tr.plan) {
		tr.t.Fatalf("%d messages of %d are acknowledged", len(order), len(tr.plan))
	}
	lasts := map[string]uint64{}
	for _, o := range order {
		lasts[tr.plan[o.n].Topic] = o.seq
	}
	for _, s := range tr.subs {
		last := uint64(0)
		for topic, seq := range lasts {
			if matches(s.filters, topic) {
				last = max(last, seq)
			}
		}
		tr.await(
			func() string {
				return fmt.Sprintf("%s to %q has messages up to %d, and should have them up to %d; its last id is %d", s.name, s.filters, s.last.Load(), last, s.at.Load())
			},
			func() bool { return s.last.Load() >= last },
		)
	}
	tr.leave()
	tr.running.Wait()
	tr.check()
	var messages, connections int
	for _, s := range tr.subs {
		if err := s.compare(order); err != nil {
			tr.t.Error(err)
		}
		messages += len(s.got)
		connections += len(s.connections)
	}
	tr.t.Logf("%d messages published; %d delivered to %d subscribers over %d connections", len(order), messages, len(tr.subs), connections)
	return order
}
