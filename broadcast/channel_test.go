package broadcast_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"weak"

	"example.com/tidings/broadcast"
	"example.com/tidings/sse"
)

// item is what a receiver got: a value, or a gap.
type item struct {
	value  int
	missed uint64
}

func value(v int) item  { return item{value: v} }
func gap(n uint64) item { return item{missed: n} }
func values(v ...int) []item {
	items := make([]item, len(v))
	for i := range v {
		items[i] = value(v[i])
	}
	return items
}

// itemOf returns what All yielded or Receive returned, and whether it is an
// item at all, not the end.
func itemOf(t *testing.T, v int, err error) (item, bool) {
	t.Helper()
	if err == nil {
		return value(v), true
	}
	if v != 0 {
		t.Errorf("value %d with the error %v", v, err)
	}
	gapErr, ok := errors.AsType[*sse.GapError](err)
	if !ok {
		return item{}, false
	}
	if gapErr.Missed == 0 || gapErr.Reason != "lag" || gapErr.After != "" || gapErr.Next != "" {
		t.Errorf("gap is %+v, want the reason lag, a number and no ids", gapErr)
	}
	return gap(gapErr.Missed), true
}

// collect ranges over r to the end.
func collect(t *testing.T, r *broadcast.Receiver[int]) (items []item) {
	t.Helper()
	for v, err := range r.All() {
		it, ok := itemOf(t, v, err)
		if !ok {
			t.Errorf("All yielded the error %v", err)
		}
		items = append(items, it)
	}
	return items
}

func expect(t *testing.T, got, want []item) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("received %v, want %v", got, want)
	}
}

func expectReceivers(t *testing.T, c *broadcast.Channel[int], want int) {
	t.Helper()
	if got := c.Receivers(); got != want {
		t.Errorf("%d receivers, want %d", got, want)
	}
}

func TestNewPanicsWithoutCapacity(t *testing.T) {
	for _, capacity := range []int{0, -1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("New(%d) did not panic", capacity)
				}
			}()
			broadcast.New[int](capacity)
		}()
	}
}

func TestSendReturnsTheNumberOfReceivers(t *testing.T) {
	c := broadcast.New[int](4)
	for n := range 5 {
		if got := c.Send(1); got != n {
			t.Errorf("Send returned %d with %d receivers", got, n)
		}
		expectReceivers(t, c, n)
		defer c.Subscribe(t.Context()).Close()
	}
}

func TestEveryReceiverGetsEveryValueInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const receivers, sent = 200, 20
		c := broadcast.New[int](sent)
		got := make([][]item, receivers)
		var wg sync.WaitGroup
		for i := range got {
			r := c.Subscribe(t.Context())
			wg.Go(func() { got[i] = collect(t, r) })
		}
		var want []item
		for v := range sent {
			c.Send(v + 1)
			want = append(want, value(v+1))
			if v%3 == 0 {
				synctest.Wait() // all wait again
			}
		}
		c.Close()
		wg.Wait()
		for i := range got {
			expect(t, got[i], want)
		}
		expectReceivers(t, c, 0)
	})
}

// Many more receivers than the waker takes off the list at a time.
func TestOneSendWakesAllThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const receivers = 1000
		c := broadcast.New[int](1)
		got := make([]int, receivers)
		for i := range got {
			r := c.Subscribe(t.Context())
			go func() {
				for v := range r.All() {
					got[i] = v
				}
			}()
		}
		synctest.Wait()
		if n := c.Waiting(); n != receivers {
			t.Errorf("%d receivers wait, want %d", n, receivers)
		}
		c.Send(7)
		synctest.Wait()
		for i, v := range got {
			if v != 7 {
				t.Fatalf("receiver %d got %d, want 7", i, v)
			}
		}
		c.Close()
	})
}

// With one processor, the waker cannot run while Send does. What Send did
// itself shows when it returns.
func TestSendWakesNobodyItself(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, func(t *testing.T) {
		const receivers = 100
		c := broadcast.New[int](1)
		for range receivers {
			r := c.Subscribe(t.Context())
			go func() {
				for range r.All() {
				}
			}()
		}
		defer c.Close()
		left := 0
		for range 20 { // the scheduler may put the waker first, now and then
			synctest.Wait()
			c.Send(1)
			if left = max(left, c.Waiting()); left == receivers {
				return
			}
		}
		t.Errorf("at most %d of %d receivers still waited when Send returned", left, receivers)
	})
}

func TestReceivingBeginsAtSubscribe(t *testing.T) {
	c := broadcast.New[int](8)
	first := c.Subscribe(t.Context())
	c.Send(1)
	second := c.Subscribe(t.Context())
	c.Send(2) // before anybody ranges
	third := c.Subscribe(t.Context())
	all := third.All() // making the sequence changes nothing
	c.Send(3)
	c.Close()
	expect(t, collect(t, first), values(1, 2, 3))
	expect(t, collect(t, second), values(2, 3))
	var got []item
	for v := range all {
		got = append(got, value(v))
	}
	expect(t, got, values(3))
}

func TestValuesWithoutReceiversAreDropped(t *testing.T) {
	c := broadcast.New[int](4)
	c.Send(1)
	r := c.Subscribe(t.Context())
	r.Close()
	c.Send(2)
	r = c.Subscribe(t.Context())
	c.Send(3)
	c.Close()
	expect(t, collect(t, r), values(3))
}

func TestCloseDrains(t *testing.T) {
	c := broadcast.New[int](3)
	r := c.Subscribe(t.Context())
	for v := range 5 {
		c.Send(v + 1)
	}
	c.Close()
	c.Close()
	if got := c.Send(6); got != 0 {
		t.Errorf("Send after Close returned %d", got)
	}
	expectReceivers(t, c, 1) // it has not come to its end
	expect(t, collect(t, r), []item{gap(2), value(3), value(4), value(5)})
	expectReceivers(t, c, 0)
}

func TestCloseEndsThoseThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := broadcast.New[int](3)
		ranged, received := c.Subscribe(t.Context()), c.Subscribe(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { expect(t, collect(t, ranged), nil) })
		wg.Go(func() {
			if _, err := received.Receive(t.Context()); err != broadcast.ErrClosed {
				t.Errorf("Receive returned %v, want ErrClosed", err)
			}
			expectReceived(t, received, broadcast.ErrClosed) // and again
		})
		synctest.Wait()
		c.Close()
		wg.Wait()
		expectReceivers(t, c, 0)
	})
}

func TestSubscribeAfterClose(t *testing.T) {
	c := broadcast.New[int](3)
	c.Close()
	r := c.Subscribe(t.Context())
	expectReceivers(t, c, 0)
	expect(t, collect(t, r), nil)
	expectReceived(t, r, broadcast.ErrClosed)
	r.Close()
}

// expectReceived checks the error of a Receive that does not wait.
func expectReceived(t *testing.T, r *broadcast.Receiver[int], want error) {
	t.Helper()
	if v, err := r.Receive(context.Background()); err != want || v != 0 {
		t.Errorf("Receive returned %v, %v, want the error %v", v, err, want)
	}
}

// What is sent is referred to as long as somebody can receive it.
func TestReferences(t *testing.T) {
	type big [64]byte
	c := broadcast.New[*big](4)
	send := func() weak.Pointer[big] {
		v := new(big)
		c.Send(v)
		return weak.Make(v)
	}
	check := func(when string, ref weak.Pointer[big], want bool) {
		t.Helper()
		runtime.GC()
		if got := ref.Value() != nil; got != want {
			t.Errorf("%s: referred to is %t, want %t", when, got, want)
		}
		runtime.KeepAlive(c)
	}
	check("sent to nobody", send(), false)

	r, second := c.Subscribe(t.Context()), c.Subscribe(t.Context())
	var refs []weak.Pointer[big]
	for range 6 {
		refs = append(refs, send())
	}
	check("overwritten", refs[1], false)
	check("the oldest that is left", refs[2], true)
	c.Close()
	check("closed, not drained", refs[5], true)
	for range r.All() {
	}
	check("drained by one of two", refs[5], true)
	second.Close()
	check("closed, and no receiver left", refs[5], false)
	check("closed, and no receiver left", refs[2], false)

	c = broadcast.New[*big](4)
	r = c.Subscribe(t.Context())
	ref := send()
	r.Close()
	check("no receiver left", ref, true)
	c.Close()
	check("no receiver left, and closed", ref, false)
}
