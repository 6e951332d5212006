package broadcast_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/broadcast"
)

func TestLag(t *testing.T) {
	for _, tt := range []struct {
		name                   string
		capacity, before, sent int // before: sent and received before the others
		want                   []item
	}{
		{"nothing sent", 1, 0, 0, nil},
		{"as many as the ring holds", 3, 0, 3, values(1, 2, 3)},
		{"one more", 3, 0, 4, []item{gap(1), value(2), value(3), value(4)}},
		{"one more, after a turn and a half", 2, 3, 3, []item{gap(1), value(5), value(6)}},
		{"two turns more", 2, 1, 6, []item{gap(4), value(6), value(7)}},
		{"a ring of one, up to date", 1, 2, 1, values(3)},
		{"a ring of one", 1, 0, 5, []item{gap(4), value(5)}},
		{"far behind", 2, 0, 100_001, []item{gap(99_999), value(100_000), value(100_001)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expect(t, afterLag(t, tt.capacity, tt.before, tt.sent), tt.want)
		})
	}
}

// Every place in the ring, every distance up to three turns.
func TestLagIsExactEverywhere(t *testing.T) {
	for capacity := 1; capacity <= 9; capacity++ {
		for before := range 2*capacity + 1 {
			for sent := range 3*capacity + 1 {
				var want []item
				first := before + 1
				if missed := sent - capacity; missed > 0 {
					want = append(want, gap(uint64(missed)))
					first += missed
				}
				for v := first; v <= before+sent; v++ {
					want = append(want, value(v))
				}
				if got := afterLag(t, capacity, before, sent); !slices.Equal(got, want) {
					t.Errorf("capacity %d, %d received, %d sent: got %v, want %v", capacity, before, sent, got, want)
				}
			}
		}
	}
}

// afterLag returns what a receiver gets that was up to date after before
// values, when sent more have been sent. Values count from 1.
func afterLag(t *testing.T, capacity, before, sent int) []item {
	t.Helper()
	c := broadcast.New[int](capacity)
	r := c.Subscribe(t.Context())
	for v := 1; v <= before+sent; v++ {
		c.Send(v)
		if v <= before {
			if got, err := r.Receive(t.Context()); got != v || err != nil {
				t.Fatalf("Receive returned %v, %v, want %d", got, err, v)
			}
		}
	}
	c.Close()
	return collect(t, r)
}

// model is what a Channel promises, in the simplest terms.
type model struct {
	capacity int
	sent     []int
	closed   bool
}

type modelReceiver struct {
	next int
	err  error // why it has ended
}

// receive returns what Receive must; waits when it must wait.
func (m *model) receive(r *modelReceiver) (it item, err error, waits bool) {
	behind := len(m.sent) - r.next
	switch {
	case r.err != nil:
	case behind > m.capacity:
		missed := behind - m.capacity
		r.next += missed
		return gap(uint64(missed)), nil, false
	case behind > 0:
		r.next++
		return value(m.sent[r.next-1]), nil, false
	case m.closed:
		r.err = broadcast.ErrClosed
	default:
		return item{}, nil, true
	}
	return item{}, r.err, false
}

// Random calls, one after another, agree with the model.
func TestModel(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			testModel(t, rand.New(rand.NewPCG(seed, 0)))
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func testModel(t *testing.T, rnd *rand.Rand) {
	type receiver struct {
		modelReceiver
		real   *broadcast.Receiver[int]
		cancel context.CancelCauseFunc
	}
	m := &model{capacity: 1 + rnd.IntN(6)}
	c := broadcast.New[int](m.capacity)
	var receivers []*receiver
	counted := func() (n int) {
		for _, r := range receivers {
			if r.err == nil {
				n++
			}
		}
		return n
	}
	receive := func(r *receiver) {
		wantItem, wantErr, waits := m.receive(&r.modelReceiver)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if waits {
			wantErr = context.DeadlineExceeded
		}
		v, err := r.real.Receive(ctx)
		if it, ok := itemOf(t, v, err); it != wantItem || !ok && err != wantErr || ok && wantErr != nil {
			t.Fatalf("Receive returned %v, %v, want %v, %v", v, err, wantItem, wantErr)
		}
	}
	for range 400 {
		var r *receiver
		if len(receivers) > 0 {
			r = receivers[rnd.IntN(len(receivers))]
		}
		switch op := rnd.IntN(100); {
		case op < 50:
			v, want := 1+len(m.sent), counted()
			if m.closed {
				want = 0
			}
			if got := c.Send(v); got != want {
				t.Fatalf("Send returned %d, want %d", got, want)
			}
			if want > 0 {
				m.sent = append(m.sent, v)
			}
		case op < 56 && len(receivers) < 10 || r == nil:
			r := &receiver{modelReceiver: modelReceiver{next: len(m.sent)}}
			ctx, cancel := context.WithCancelCause(t.Context())
			r.cancel = cancel
			r.real = c.Subscribe(ctx)
			if m.closed {
				r.err = broadcast.ErrClosed
			}
			receivers = append(receivers, r)
		case op < 92:
			receive(r)
		case op < 94:
			r.real.Close()
			if r.err == nil {
				r.err = broadcast.ErrClosed
			}
		case op < 96:
			r.cancel(errLeft)
			synctest.Wait()
			r.err = errLeft // comes first, also when it had ended before
		case op == 96 && rnd.IntN(4) == 0:
			c.Close()
			m.closed = true
		}
		if got, want := c.Receivers(), counted(); got != want {
			t.Fatalf("%d receivers, want %d", got, want)
		}
	}
	c.Close()
	m.closed = true
	for _, r := range receivers {
		for r.err == nil {
			receive(r)
		}
		r.cancel(nil)
	}
	if n := c.Receivers(); n != 0 {
		t.Fatal(fmt.Sprint(n, " receivers left"))
	}
}
