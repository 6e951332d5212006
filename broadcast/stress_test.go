package broadcast_test

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"example.com/tidings/broadcast"
	"example.com/tidings/sse"
)

// stamp is a value that says who sent it.
type stamp struct{ sender, n int }

// record is what one receiver got: values with their positions, counted from
// the receiver's first value or gap.
type record struct {
	at    map[uint64]stamp
	total uint64 // values received and missed
}

func (r *record) add(v stamp, err error) (more bool) {
	if gap, ok := errors.AsType[*sse.GapError](err); ok {
		r.total += gap.Missed
		return true
	}
	if err != nil {
		return false
	}
	if r.at == nil {
		r.at = make(map[uint64]stamp)
	}
	r.at[r.total] = v
	r.total++
	return true
}

// Senders, receivers that stay, and receivers that come and go in every way.
// What is received and missed adds up, and all saw the same order.
func TestStress(t *testing.T) {
	for _, capacity := range []int{1, 2, 16, 1000} {
		testStress(t, capacity)
	}
}

func testStress(t *testing.T, capacity int) {
	const senders, each, staying, passing = 4, 1500, 6, 6
	c := broadcast.New[stamp](capacity)

	stayed := make([]record, staying)
	var receiving sync.WaitGroup
	for i := range stayed {
		s := c.Subscribe(t.Context())
		receiving.Go(func() {
			if i%2 == 0 {
				for v, err := range s.All() {
					stayed[i].add(v, err)
				}
				return
			}
			for {
				if v, err := s.Receive(t.Context()); !stayed[i].add(v, err) {
					if err != broadcast.ErrClosed {
						t.Errorf("Receive returned %v", err)
					}
					return
				}
			}
		})
	}

	sent := make(chan struct{})
	passed := make([][]record, passing)
	for i := range passed {
		receiving.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(capacity), uint64(i)))
			for {
				select {
				case <-sent:
					return
				default:
					passed[i] = append(passed[i], pass(t, c, rnd))
				}
			}
		})
	}

	var sending sync.WaitGroup
	for sender := range senders {
		sending.Go(func() {
			for n := range each {
				if got := c.Send(stamp{sender, n}); got < staying || got > staying+passing {
					t.Errorf("Send returned %d", got)
				}
				if n%8 == 0 {
					runtime.Gosched() // or nobody would keep up
				}
			}
		})
	}
	sending.Wait()
	close(sent)
	c.Close()
	receiving.Wait()

	order := make(map[uint64]stamp)
	for i, r := range stayed {
		if r.total != senders*each {
			t.Errorf("receiver %d: received and missed add up to %d, %d were sent", i, r.total, senders*each)
		}
		for at, v := range r.at {
			if other, ok := order[at]; ok && other != v {
				t.Fatalf("at %d one receiver got %v, another %v", at, other, v)
			}
			order[at] = v
		}
	}
	checkOrder(t, order, senders*each)
	checkPassed(t, order, passed)
	if c.Receivers() != 0 || c.Waiting() != 0 {
		t.Errorf("%d receivers left, %d of them wait", c.Receivers(), c.Waiting())
	}
}

// pass subscribes, receives a few values and leaves in a random way.
func pass(t *testing.T, c *broadcast.Channel[stamp], rnd *rand.Rand) (r record) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := c.Subscribe(ctx)
	defer s.Close()
	left := rnd.IntN(20)
	switch rnd.IntN(5) {
	case 0: // break
		for v, err := range s.All() {
			r.add(v, err)
			if left--; left < 0 {
				break
			}
		}
	case 1: // the end of its context, from elsewhere, at any moment
		go cancel()
		for v, err := range s.All() {
			r.add(v, err)
		}
	case 2: // Close, from elsewhere, at any moment
		go s.Close()
		for {
			if v, err := s.Receive(ctx); !r.add(v, err) {
				break
			}
		}
	case 3: // never received from
	case 4: // the end of the context of a Receive, and going on after it
		for ; left > 0; left-- {
			ctx, cancel := context.WithCancel(ctx)
			go cancel()
			v, err := s.Receive(ctx)
			r.add(v, err)
			cancel()
		}
	}
	return r
}

// checkOrder checks that a sender's values are in its order, and far enough
// apart for those between them.
func checkOrder(t *testing.T, order map[uint64]stamp, sent uint64) {
	t.Helper()
	last := make(map[int]int)
	for at := range sent {
		v, ok := order[at]
		if !ok {
			continue // missed by all
		}
		if n, ok := last[v.sender]; ok && v.n <= n {
			t.Fatalf("number %d of sender %d came after number %d", v.n, v.sender, n)
		}
		last[v.sender] = v.n
	}
}

// checkPassed checks that those who did not stay saw a part of the order.
func checkPassed(t *testing.T, order map[uint64]stamp, passed [][]record) {
	t.Helper()
	position := make(map[stamp]uint64, len(order))
	for at, v := range order {
		position[v] = at
	}
	if len(position) != len(order) {
		t.Errorf("%d values at %d places", len(position), len(order))
	}
	for _, records := range passed {
		for _, r := range records {
			var base uint64
			known := false
			for at := range maps.Keys(r.at) {
				p, ok := position[r.at[at]]
				switch {
				case !ok: // those who stayed missed it
				case !known:
					base, known = p-at, true
				case p-at != base:
					t.Fatalf("a receiver got %v at a distance of %d that others did not see", r.at[at], p-at-base)
				}
			}
		}
	}
}

// Contexts and receivers that end while receivers are being woken
// take no wake-up away from the others, nor from themselves.
func TestEndsWhileWakingLoseNoWakeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for n := range 3000 {
			c := broadcast.New[int](1 + n%2)
			ctx, cancel := context.WithCancelCause(t.Context())
			var subs [4]*broadcast.Receiver[int]
			for i := range subs {
				subs[i] = c.Subscribe(t.Context())
			}
			var wg sync.WaitGroup
			receive := func(i int, ctx context.Context) (int, error) {
				v, err := subs[i].Receive(ctx)
				if err == nil && v != 1 {
					t.Errorf("received %d", v)
				}
				return v, err
			}
			wg.Go(func() { // ends its Receive, and goes on
				if _, err := receive(0, ctx); err != nil {
					if err != errLeft {
						t.Errorf("Receive returned %v", err)
					}
					if _, err := receive(0, t.Context()); err != nil {
						t.Errorf("the next Receive returned %v", err)
					}
				}
			})
			wg.Go(func() { // is closed
				if _, err := receive(1, t.Context()); err != nil && err != broadcast.ErrClosed {
					t.Errorf("Receive returned %v", err)
				}
			})
			for i := 2; i < len(subs); i++ { // stay
				wg.Go(func() {
					if _, err := receive(i, t.Context()); err != nil {
						t.Errorf("Receive returned %v", err)
					}
				})
			}
			if n%3 > 0 {
				synctest.Wait()
			}
			wg.Go(func() { cancel(errLeft) })
			wg.Go(func() { c.Send(1) })
			wg.Go(subs[1].Close)
			wg.Wait() // a lost wake-up is a deadlock, which the bubble reports
			// A token that came late does not stop the next value.
			for i := 2; i < len(subs); i++ {
				wg.Go(func() { receive(i, t.Context()) })
			}
			c.Send(1)
			wg.Wait()
			for _, r := range subs {
				r.Close()
			}
			if c.Receivers() != 0 || c.Waiting() != 0 {
				t.Fatalf("%d receivers left, %d of them wait", c.Receivers(), c.Waiting())
			}
		}
	})
}

// Sends, and the Close, that meet a waker which is about to end.
func TestBusyWakerLosesNoWakeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sent = 20_000
		c := broadcast.New[int](4)
		back := make(chan struct{}, 2)
		for range 2 {
			r := c.Subscribe(t.Context())
			go func() {
				for v, err := range r.All() {
					if err != nil {
						t.Errorf("error %v beside value %v", err, v)
					}
					back <- struct{}{}
				}
			}()
		}
		for v := range sent {
			c.Send(v)
			<-back
			<-back
		}
		c.Close()
	})
}
