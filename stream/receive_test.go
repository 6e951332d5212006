package stream_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/stream"
)

func TestReceiveUntilClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := make(chan int)
		go func() {
			defer close(ch)
			for i := range 3 {
				ch <- i
			}
		}()
		seq := stream.Receive(t.Context(), ch)
		if got, want := trace(t, seq), []string{"0", "1", "2"}; !slices.Equal(got, want) {
			t.Errorf("yielded %q, want %q", got, want)
		}
		if got := trace(t, seq); len(got) > 0 {
			t.Errorf("ranged again after the end it yielded %q, want nothing", got)
		}
	})
}

func TestReceiveFromNil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		if got := trace(t, stream.Receive[int](ctx, nil)); len(got) > 0 {
			t.Errorf("yielded %q, want nothing", got)
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("ended after %v, want the second of its context", took)
		}
	})
}

// A value that the sender has sent is yielded, even if the context is done
// before the consumer's goroutine runs.
func TestReceiveYieldsWhatItHasTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 100 {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ch := make(chan int)
			got := make(chan []string, 1)
			go func() { got <- trace(t, stream.Receive(ctx, ch)) }()
			synctest.Wait()
			ch <- 1 // taken by the goroutine that waits for it
			cancel()
			if got := <-got; !slices.Equal(got, []string{"1"}) {
				t.Fatalf("yielded %q, want the value that was taken", got)
			}
		}
	})
}

// After the end of the context, no value is taken, even if the channel always
// has one ready.
func TestReceiveLeavesTheRest(t *testing.T) {
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ch := make(chan int, 10)
		for i := range cap(ch) {
			ch <- i
		}
		for range stream.Receive(ctx, ch) {
			cancel()
		}
		if len(ch) != 9 {
			t.Fatalf("%d values left in the channel, want 9", len(ch))
		}
	}
}

func TestReceiveSharesBetweenTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := make(chan int)
		seq := stream.Receive(t.Context(), ch)
		var mu sync.Mutex
		var got []int
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				for v := range seq {
					mu.Lock()
					got = append(got, v)
					mu.Unlock()
				}
			})
		}
		want := make([]int, 100)
		for i := range want {
			want[i] = i
			ch <- i
		}
		close(ch)
		both.Wait()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("the two saw %v together, want each value once", got)
		}
	})
}
