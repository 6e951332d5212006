package broadcast_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/broadcast"
)

var errLeft = errors.New("left")

func TestContextEndsAllAtOnce(t *testing.T) {
	t.Run("while it waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := broadcast.New[int](4)
			ctx, cancel := context.WithCancel(t.Context())
			r := c.Subscribe(ctx)
			var wg sync.WaitGroup
			wg.Go(func() { expect(t, collect(t, r), nil) })
			synctest.Wait()
			cancel()
			wg.Wait()
			expectReceivers(t, c, 0)
			if n := c.Waiting(); n != 0 {
				t.Errorf("%d left on the wait list", n)
			}
		})
	})
	t.Run("with values left", func(t *testing.T) {
		c := broadcast.New[int](4)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := c.Subscribe(ctx)
		c.Send(1)
		c.Send(2)
		for v, err := range r.All() {
			if v != 1 || err != nil {
				t.Errorf("received %v, %v after the context's end", v, err)
			}
			cancel()
		}
		expectReceivers(t, c, 0)
	})
	t.Run("with values left and the channel closed", func(t *testing.T) {
		c := broadcast.New[int](4)
		ctx, cancel := context.WithCancel(t.Context())
		r := c.Subscribe(ctx)
		c.Send(1)
		c.Close()
		cancel()
		expect(t, collect(t, r), nil)
		expectReceivers(t, c, 0)
	})
}

func TestReceive(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	c := broadcast.New[int](2)
	r := c.Subscribe(ctx)
	next := func() (item, error) {
		v, err := r.Receive(t.Context())
		it, _ := itemOf(t, v, err)
		return it, err
	}
	for v := range 5 {
		c.Send(v + 1)
	}
	if it, _ := next(); it != gap(3) {
		t.Errorf("received %v, want the gap first", it)
	}
	c.Send(6) // overwrites the oldest that was left
	for _, want := range []item{gap(1), value(5), value(6)} {
		if it, _ := next(); it != want {
			t.Errorf("received %v, want %v", it, want)
		}
	}
	c.Send(7)
	cancel(errLeft)
	expectReceived(t, r, errLeft) // a done context comes first
	expectReceivers(t, c, 0)
	r.Close()
	expectReceived(t, r, errLeft)
}

func TestReceiveReturnsTheCauseOfItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := broadcast.New[int](2)
		r := c.Subscribe(t.Context())
		defer r.Close()
		for _, name := range []string{"while it waits", "before it waits"} {
			ctx, cancel := context.WithCancelCause(t.Context())
			if name == "before it waits" {
				cancel(errLeft)
				c.Send(1) // and a done context comes first
			} else {
				time.AfterFunc(time.Minute, func() { cancel(errLeft) })
			}
			if v, err := r.Receive(ctx); err != errLeft || v != 0 {
				t.Errorf("%s: Receive returned %v, %v", name, v, err)
			}
			if n := c.Waiting(); n != 0 {
				t.Errorf("%s: %d left on the wait list", name, n)
			}
		}
		expectReceivers(t, c, 1) // the receiver goes on
		if v, err := r.Receive(t.Context()); v != 1 || err != nil {
			t.Errorf("the next Receive returned %v, %v", v, err)
		}
	})
}

func TestReceiveReturnsTheCauseOfTheReceiversContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := broadcast.New[int](2)
		ctx, cancel := context.WithCancelCause(t.Context())
		r := c.Subscribe(ctx)
		time.AfterFunc(time.Minute, func() { cancel(errLeft) })
		expectReceived(t, r, errLeft)
		expectReceived(t, r, errLeft)
		expectReceivers(t, c, 0)
	})
}

func TestSubscribeWithADoneContext(t *testing.T) {
	c := broadcast.New[int](2)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errLeft)
	r := c.Subscribe(ctx)
	expectReceivers(t, c, 0)
	if got := c.Send(1); got != 0 {
		t.Errorf("Send returned %d", got)
	}
	expectReceived(t, r, errLeft)
	expect(t, collect(t, r), nil)
}

func TestNeverRangedIsUncountedWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := broadcast.New[int](2)
		ctx, cancel := context.WithCancel(t.Context())
		for range 3 {
			c.Subscribe(ctx).All() // the sequence is made, not ranged
		}
		expectReceivers(t, c, 3)
		cancel()
		synctest.Wait()
		expectReceivers(t, c, 0)
	})
}

// A handler subscribes before it knows that the answer has no body.
func TestHeadRequestLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := broadcast.New[int](2)
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			events := c.Subscribe(r.Context()).All()
			if r.Method == http.MethodHead {
				return
			}
			for range events {
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodHead, "/", nil))
		expectReceivers(t, c, 1)
		cancel() // as net/http does when a handler has returned
		synctest.Wait()
		expectReceivers(t, c, 0)
	})
}

func TestLoopThatEndsClosesTheReceiver(t *testing.T) {
	for _, end := range []struct {
		name string
		loop func(r *broadcast.Receiver[int])
	}{
		{"break", func(r *broadcast.Receiver[int]) {
			for range r.All() {
				break
			}
		}},
		{"panic", func(r *broadcast.Receiver[int]) {
			defer func() {
				if p := recover(); p != "in the loop" {
					panic(p)
				}
			}()
			for range r.All() {
				panic("in the loop")
			}
		}},
		{"Close in the loop", func(r *broadcast.Receiver[int]) {
			n := 0
			for range r.All() {
				r.Close()
				n++
			}
			if n != 1 {
				panic("the loop went on after Close")
			}
		}},
		{"second loop", func(r *broadcast.Receiver[int]) {
			for range r.All() {
				break
			}
			for range r.All() {
				panic("the second loop received something")
			}
		}},
		{"the same sequence again", func(r *broadcast.Receiver[int]) {
			all := r.All()
			for range all {
				break
			}
			for range all {
				panic("the second loop received something")
			}
		}},
	} {
		t.Run(end.name, func(t *testing.T) {
			c := broadcast.New[int](4)
			r := c.Subscribe(t.Context())
			c.Send(1)
			c.Send(2)
			end.loop(r)
			expectReceivers(t, c, 0)
			expectReceived(t, r, broadcast.ErrClosed)
		})
	}
}

func TestCloseOfTheReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := broadcast.New[int](4)
		ranged, received := c.Subscribe(t.Context()), c.Subscribe(t.Context())
		other := c.Subscribe(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { expect(t, collect(t, ranged), nil) })
		wg.Go(func() { expectReceived(t, received, broadcast.ErrClosed) })
		synctest.Wait()
		for _, r := range []*broadcast.Receiver[int]{ranged, received} {
			r.Close()
			r.Close()
		}
		expectReceivers(t, c, 1)
		wg.Wait()
		if n := c.Waiting(); n != 0 {
			t.Errorf("%d left on the wait list", n)
		}
		c.Send(1)
		expectReceived(t, received, broadcast.ErrClosed)
		c.Close()
		expect(t, collect(t, other), values(1))
	})
}

// releaseContext counts the functions that wait for its end.
type releaseContext struct {
	context.Context
	registered int
}

// Value hides the context within, at which package context would register.
func (*releaseContext) Value(any) any { return nil }

func (c *releaseContext) AfterFunc(func()) (stop func() bool) {
	c.registered++
	return sync.OnceValue(func() bool {
		c.registered--
		return true
	})
}

func TestEndReleasesTheContext(t *testing.T) {
	for _, end := range []struct {
		name string
		end  func(c *broadcast.Channel[int], r *broadcast.Receiver[int])
	}{
		{"Close", func(_ *broadcast.Channel[int], r *broadcast.Receiver[int]) { r.Close() }},
		{"All drained", func(c *broadcast.Channel[int], r *broadcast.Receiver[int]) {
			c.Close()
			collect(t, r)
		}},
		{"Receive drained", func(c *broadcast.Channel[int], r *broadcast.Receiver[int]) {
			c.Close()
			expectReceived(t, r, broadcast.ErrClosed)
		}},
	} {
		ctx, cancel := context.WithCancel(t.Context()) // so that Done is not nil
		defer cancel()
		counting := &releaseContext{Context: ctx}
		c := broadcast.New[int](4)
		r := c.Subscribe(counting)
		if counting.registered != 1 {
			t.Fatalf("%d functions registered by Subscribe", counting.registered)
		}
		end.end(c, r)
		if counting.registered != 0 {
			t.Errorf("%s: the context still refers to the receiver", end.name)
		}
	}
}
