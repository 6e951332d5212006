package bench_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/bench"
)

// There are two topics with two subscribers each. Three messages may be in flight.
func TestFlowKeepsTheWindow(t *testing.T) {
	f := bench.NewFlow(2, 3, 1)
	for _, topic := range []uint32{0, 1, 0, 1} {
		if !f.Join(topic) {
			t.Fatal("cannot join")
		}
	}
	may := func(m uint64, want bool) {
		t.Helper()
		if got := f.May(m); got != want {
			t.Errorf("message %d may be published: %v", m, got)
		}
	}
	for m := range uint64(3) {
		may(m, true)
		f.Publish(0, m)
	}
	may(3, false)
	for range 3 {
		f.Settle(1) // two deliveries and the acknowledgement
	}
	may(3, false) // message 0 still owes deliveries
	for range 2 {
		f.Settle(0)
	}
	may(3, false)
	f.Settle(0)
	may(4, true)
	may(5, false)
	if got := f.Owed(); got != 6 {
		t.Errorf("%d deliveries are expected, want 6", got)
	}
	for m, want := range map[uint64]bool{0: true, 2: true, 3: false, 1 << 50: false} {
		if f.IsPublished(m) != want {
			t.Errorf("message %d is published: %v", m, !want)
		}
	}
}

// No message owes a delivery to a subscriber that has left.
func TestFlowForgivesASubscriberThatLeaves(t *testing.T) {
	for _, tt := range []struct {
		name string
		next uint64 // messages of its topic that the subscriber has
		owed int64  // deliveries owed, of 6, after it has left
	}{
		{"it has none", 0, 4},
		{"it has one", 1, 5},
		{"it has all", 2, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := bench.NewFlow(2, 4, 1)
			f.Join(0)
			f.Join(0)
			f.Join(1)
			for m := range uint64(4) {
				f.Publish(0, m)
			}
			for seq := range tt.next {
				f.Settle(seq * 2)
			}
			f.Leave(0, tt.next)
			if got := f.Owed(); got != tt.owed {
				t.Errorf("%d deliveries are expected, want %d", got, tt.owed)
			}
			for _, m := range []uint64{0, 2} { // the delivery to the other subscriber, and the acknowledgement
				f.Settle(m)
				f.Settle(m)
			}
			if f.May(5) {
				t.Error("message 1 owes deliveries, but message 5 may be published")
			}
			f.Settle(1)
			f.Settle(1)
			if !f.May(6) {
				t.Error("messages 0 to 2 owe nothing, but message 6 may not be published")
			}
			f.Publish(0, 4)
			f.Settle(4)
			f.Settle(4)
			f.Settle(3)
			f.Settle(3)
			if !f.May(8) {
				t.Error("message 4 owes a delivery to a subscriber that left before it")
			}
		})
	}
}

func TestFlowWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := bench.NewFlow(1, 1, 1)
		f.Publish(0, 0)
		done := make(chan error)
		go func() { done <- f.Wait(t.Context(), 0, 1) }()
		time.Sleep(time.Second)
		select {
		case err := <-done:
			t.Fatalf("message 1 did not wait: %v", err)
		default:
		}
		f.Settle(0)
		if err := <-done; err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.Wait(ctx, 0, 2); err == nil {
			t.Error("message 2 did not wait for the context")
		}
	})
}

// An open loop never waits, but still counts.
func TestFlowWithoutAWindow(t *testing.T) {
	f := bench.NewFlow(1, 0, 1)
	f.Join(0)
	for m := range uint64(1000) {
		if !f.May(m) {
			t.Fatalf("message %d may not be published", m)
		}
		f.Publish(0, m)
	}
	f.Settle(0)
	f.Leave(0, 1)
	if got := f.Owed(); got != 1 {
		t.Errorf("%d deliveries are expected, want 1", got)
	}
}
