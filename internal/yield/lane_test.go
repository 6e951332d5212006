package yield_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/yield"
)

const aSlice = 100_000 // nanoseconds

// begin returns a Work that has a place in a lane.
func begin(l *yield.Lane) *yield.Work {
	w := yield.In(l)
	w.Did(aSlice)
	return &w
}

// As many go on at once as a lane has places, and every one gets its turns.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const places, works, turns = 3, 50, 10
		const busy = 400 * time.Microsecond // a place is not shared so soon
		l := yield.NewLane(places)
		began := time.Now()
		var now, most atomic.Int64
		var all sync.WaitGroup
		for range works {
			all.Go(func() {
				w := yield.In(l)
				defer w.Pause()
				for range turns {
					w.Did(aSlice)
					n := now.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					time.Sleep(busy)
					now.Add(-1)
				}
			})
		}
		all.Wait()
		if n := most.Load(); n != places {
			t.Errorf("%d worked at once in a lane of %d places", n, places)
		}
		if d, want := time.Since(began), (works*turns+places-1)/places*busy; d > want+busy {
			t.Errorf("they were done after %v, want %v", d, want)
		}
		if n := l.Used(); n != 0 {
			t.Errorf("%d places are taken in the end", n)
		}
	})
}

// Those who wait get a place in order, as soon as another one pauses or has done its slice. Short work
// needs none.
func TestLaneInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := yield.NewLane(1)
		first := begin(l)
		began := time.Now()
		var order []int
		for i := range 3 {
			go func() {
				w := begin(l)
				order = append(order, i)
				w.Pause()
			}()
			synctest.Wait()
		}
		short := yield.In(l)
		short.Did(aSlice - 1)
		short.Pause()
		short.Resume()
		if len(order) != 0 || l.Used() != 1 {
			t.Fatalf("%v have had a place, and %d are taken, while the first has the only one", order, l.Used())
		}
		first.Did(aSlice) // its next turn comes after the others
		if want := []int{0, 1, 2}; !slices.Equal(order, want) {
			t.Errorf("the order was %v, want %v", order, want)
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("they waited for %v", d)
		}
		first.Pause()
		first.Pause()
		if n := l.Used(); n != 0 {
			t.Errorf("%d places are taken in the end", n)
		}
	})
}

// One that waits for something with its place shares it after a while. What it gives back later is not another's place.
func TestLaneExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := yield.NewLane(1)
		begin(l)
		lost := begin(l)
		began := time.Now()
		second := begin(l)
		if d := time.Since(began); d < time.Millisecond || d > 3*time.Millisecond {
			t.Errorf("the second had a place after %v, want 1 to 3 ms", d)
		}
		lost.Pause()
		if n := l.Used(); n != 1 {
			t.Errorf("after the first has given up its place, which is the second's now, %d are taken", n)
		}
		second.Pause()

		// A work that was long needs a place after each pause.
		holder := begin(l)
		resumed := false
		go func() {
			second.Resume()
			resumed = true
		}()
		synctest.Wait()
		if resumed {
			t.Error("a long work went on without a place")
		}
		holder.Pause()
		synctest.Wait()
		if !resumed {
			t.Error("a long work did not get the place")
		}
		second.Pause()
	})
}
