package broadcast_test

import (
	"context"
	"testing"

	"example.com/tidings/broadcast"
)

func expectNoAllocs(t *testing.T, run func()) {
	t.Helper()
	run()
	if n := testing.AllocsPerRun(1000, run); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestNoAllocations(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	t.Run("Send to a receiver that does not wait", func(t *testing.T) {
		c := broadcast.New[string](4)
		defer c.Subscribe(ctx).Close()
		expectNoAllocs(t, func() { c.Send("value") })
	})
	t.Run("Receive what is there", func(t *testing.T) {
		c := broadcast.New[string](4)
		r := c.Subscribe(ctx)
		defer r.Close()
		expectNoAllocs(t, func() {
			c.Send("value")
			if _, err := r.Receive(ctx); err != nil {
				t.Error(err)
			}
		})
	})
	waiting := func(name string, receive func(r *broadcast.Receiver[string], each func())) {
		t.Run(name, func(t *testing.T) {
			c := broadcast.New[string](4)
			const receivers = 3
			got := make(chan struct{})
			for range receivers {
				r := c.Subscribe(ctx)
				go receive(r, func() { got <- struct{}{} })
			}
			defer c.Close()
			expectNoAllocs(t, func() {
				c.Send("value")
				for range receivers {
					<-got
				}
			})
		})
	}
	waiting("Send, wake and All", func(r *broadcast.Receiver[string], each func()) {
		for range r.All() {
			each()
		}
	})
	waiting("Send, wake and Receive", func(r *broadcast.Receiver[string], each func()) {
		for {
			if _, err := r.Receive(ctx); err != nil {
				return
			}
			each()
		}
	})
}
