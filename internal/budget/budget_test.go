package budget

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestBytes(t *testing.T) {
	b := New(96 << 10)
	c, d := b.LargeBodies.Claim(), b.LargeBodies.Claim()
	if !c.Grow(20<<10) || c.Grow(5<<10) || !c.Grow(1) || d.Grow(4<<10) || !d.Grow(1<<10) {
		t.Errorf("%d of %d bytes are taken", b.LargeBodies.Used(), b.LargeBodies.Limit())
	}
	if s := b.Stats()[2]; s.Name != "large-bodies" || s.Used != 21<<10+1 || s.Limit != 24<<10 || s.Refused != 2 {
		t.Errorf("%+v", s)
	}
	for range 2 {
		c.Release()
	}
	d.Release()
	if n := b.LargeBodies.Used(); n != 0 {
		t.Errorf("%d bytes stay taken", n)
	}
}

// One connection gets no more than its share.
func TestShare(t *testing.T) {
	b := New(DefaultBytes)
	c := b.SmallBodies.Claim()
	if !c.Grow(SmallBody) || c.Grow(1) || b.SmallBodies.Used() != SmallBody {
		t.Errorf("%d bytes are taken", b.SmallBodies.Used())
	}
}

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns Turns
		turns.init("reads", 1, 1)
		end, err := turns.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		wait := func(ctx context.Context) {
			end, err := turns.Begin(ctx)
			if err == nil {
				end()
			}
			done <- err
		}
		ctx, cancel := context.WithCancel(t.Context())
		go wait(ctx)
		synctest.Wait()
		if _, err := turns.Begin(t.Context()); !errors.Is(err, ErrBusy) || turns.refused.Load() != 1 {
			t.Errorf("beyond those that may wait: %v", err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("one that gives up: %v", err)
		}
		go wait(t.Context())
		synctest.Wait()
		end()
		if err := <-done; err != nil {
			t.Errorf("the next one: %v", err)
		}
	})
}
