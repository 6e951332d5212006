package broadcast_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/broadcast"
)

// The tests of this file put one step of one goroutine between two steps of
// another, or try to.

func TestNoWaitAfterSendOrClose(t *testing.T) {
	for _, between := range []struct {
		name string
		do   func(c *broadcast.Channel[int])
		want error
	}{
		{"Send", func(c *broadcast.Channel[int]) { c.Send(0) }, nil},
		{"Close", (*broadcast.Channel[int]).Close, broadcast.ErrClosed},
	} {
		c := broadcast.New[int](4)
		r := c.Subscribe(t.Context())
		defer r.Close()
		between.do(c) // between the look and the waiting
		if c.Await(r) || c.Waiting() != 0 {
			t.Errorf("%s: a receiver goes on the wait list, and nobody wakes it", between.name)
		}
		expectReceived(t, r, between.want)
	}
}

func TestWakerLooksAgainBeforeItEnds(t *testing.T) {
	for _, between := range []struct {
		name string
		do   func(c *broadcast.Channel[int])
	}{
		{"Send", func(c *broadcast.Channel[int]) { c.Send(1) }},
		{"Close", (*broadcast.Channel[int]).Close},
	} {
		c := broadcast.New[int](4)
		r := c.Subscribe(t.Context())
		defer r.Close()
		c.PretendWaker() // it has found nobody to wake
		if !c.Await(r) {
			t.Fatal("a receiver with nothing to receive does not wait")
		}
		between.do(c) // leaves the waking to it
		if c.Rest() {
			t.Errorf("%s: the waker ends, and nobody wakes the receiver", between.name)
		}
		if !c.Waking() {
			t.Errorf("%s: the waker goes on, and the next Send starts a second", between.name)
		}
	}
	c := broadcast.New[int](4)
	r := c.Subscribe(t.Context())
	defer r.Close()
	c.PretendWaker()
	c.Send(0) // a receiver that has come back for more is not woken for nothing
	expectReceived(t, r, nil)
	if !c.Await(r) || !c.Rest() || c.Waking() {
		t.Error("the waker does not end, with nobody to wake")
	}
}

// A receiver that is a whole ring behind meets the Send that overwrites what it
// is about to read.
func TestLagBesideAnUnfinishedSend(t *testing.T) {
	for capacity := 1; capacity <= 3; capacity++ {
		c := broadcast.New[int](capacity)
		r := c.Subscribe(t.Context())
		for v := 1; v <= capacity; v++ {
			c.Send(v)
		}
		c.Overwrite(capacity + 1)
		v, err := r.Receive(t.Context())
		if it, _ := itemOf(t, v, err); it != gap(1) {
			t.Errorf("capacity %d: received %v, %v, want a gap of 1", capacity, v, err)
		}
		c.Send(capacity + 1)
		c.Close()
		var want []item
		for v := 2; v <= capacity+1; v++ {
			want = append(want, value(v))
		}
		expect(t, collect(t, r), want)
	}
}

func TestStaleTokenIsHarmless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := broadcast.New[int](4)
		r := c.Subscribe(t.Context())
		r.AddToken()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Receive(ctx); err != context.DeadlineExceeded {
			t.Errorf("Receive returned %v before there was anything", err)
		}
		if n := c.Waiting(); n != 0 {
			t.Errorf("%d left on the wait list", n)
		}
		r.AddToken()
		var wg sync.WaitGroup
		wg.Go(func() { expect(t, collect(t, r), values(1)) })
		synctest.Wait()
		if n := c.Waiting(); n != 1 {
			t.Errorf("%d wait, want 1", n)
		}
		c.Send(1)
		c.Close()
		wg.Wait()
	})
}

// A receiver that a stale token has made look is still on the wait list.
func TestEndAfterStaleTokenLeavesTheWaitList(t *testing.T) {
	done, cancel := context.WithCancelCause(t.Context())
	cancel(errLeft)
	c := broadcast.New[int](4)
	r := c.Subscribe(t.Context())
	c.Await(r)
	if _, err := r.Receive(done); err != errLeft || c.Waiting() != 0 {
		t.Errorf("Receive returned %v with %d on the wait list", err, c.Waiting())
	}
	r.Close()
	c.Await(r) // it had looked before Close
	if _, err := r.Receive(t.Context()); err != broadcast.ErrClosed || c.Waiting() != 0 {
		t.Errorf("Receive returned %v with %d on the wait list", err, c.Waiting())
	}
}

// lateContext ends during the second look at it, which still says that it has
// not.
type lateContext struct {
	context.Context
	looks int
	end   func() // tells those who wait for the end, and returns when they know
	after func()
}

// Value hides the context within, at which package context would register.
func (*lateContext) Value(any) any { return nil }

func (c *lateContext) AfterFunc(f func()) (stop func() bool) {
	c.after = f
	return func() bool { return false }
}

func (c *lateContext) Err() error {
	c.looks++
	switch c.looks {
	case 1: // by Subscribe
		return nil
	case 2: // by Receive
		c.end()
		return nil
	}
	return errLeft
}

func TestContextThatEndsAfterTheLook(t *testing.T) {
	inner, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := broadcast.New[int](4)
	ctx := &lateContext{Context: inner}
	ctx.end = func() {
		ctx.after()
		for c.Receivers() > 0 {
			runtime.Gosched()
		}
	}
	r := c.Subscribe(ctx)
	expectReceived(t, r, errLeft)
}

// What a receiver can see to be sent is there: without a full ring there is no
// gap, and no value that was not sent.
func TestNoGapWhileTheRingHoldsAll(t *testing.T) {
	const sent = 200_000
	c := broadcast.New[int](sent)
	var wg sync.WaitGroup
	for range 2 {
		r := c.Subscribe(t.Context())
		wg.Go(func() {
			want := 1
			for v, err := range r.All() {
				if v != want || err != nil {
					t.Errorf("received %v, %v, want %d", v, err, want)
					return
				}
				want++
			}
			if want != sent+1 {
				t.Errorf("the last value was %d, want %d", want-1, sent)
			}
		})
	}
	for v := range sent {
		c.Send(v + 1)
	}
	c.Close()
	wg.Wait()
}

// A value is counted when it is in its slot, not before.
func TestSendCountsWhatIsThere(t *testing.T) {
	c := broadcast.New[int](2)
	r := c.Subscribe(t.Context())
	release := c.HoldSlot()
	var wg sync.WaitGroup
	wg.Go(func() { c.Send(1) })
	for !c.Sending() {
		runtime.Gosched()
	}
	for range 1000 {
		runtime.Gosched()
		if !c.Await(r) {
			t.Error("there is something to receive, and Send has not filled the slot")
			break
		}
	}
	release()
	wg.Wait()
	c.Close()
	expect(t, collect(t, r), values(1))
}

// The ring is emptied beside a Receive that has just seen a value in it.
func TestNoEmptiedValueIsReceived(t *testing.T) {
	c := broadcast.New[int](2)
	r := c.Subscribe(t.Context())
	c.Send(1)
	c.Close()
	c.Empty()
	var wg sync.WaitGroup
	wg.Go(r.Close)
	expectReceived(t, r, broadcast.ErrClosed)
	wg.Wait()
}
