package delivery_test

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"example.com/tidings/internal/delivery"
)

// A stream may end while a sweep writes to its set. Wherever the sweep is, every other stream
// gets its frames. The powers of two include the number of streams that a turn sweeps.
func TestStreamsThatEndDuringASweep(t *testing.T) {
	for _, streams := range []int{2, 64, 128, 129, 256, 512} {
		for _, leaver := range []int{0, 1, streams / 2, streams - 1} {
			t.Run(fmt.Sprintf("stream %d of %d leaves", leaver, streams), func(t *testing.T) {
				sameDescriptors(t)
				r := newRig(t, delivery.Options{})
				clients := make([]*net.TCPConn, streams)
				var left delivery.Stream
				for i := range clients {
					var fd int
					fd, clients[i] = socket(t)
					st := r.open(t, fd, "a", 0, "open ")
					if i == leaver {
						left = st
					}
				}
				eventually(t, "all streams are attached", func() bool { return r.stats().Detached == 0 })
				// The sweep begins in this turn. The next turn sees that the client has left.
				r.do(t, func() {
					r.mu.Lock()
					defer r.mu.Unlock()
					r.arrived = append(r.arrived, func() {
						r.add("a", "one ")
						clients[leaver].Close()
					})
				})
				r.ended(t, left, delivery.Left)
				r.append("a", "two ")
				for i := streams - 1; i >= 0; i-- {
					if i != leaver {
						want(t, clients[i], "open one two ")
						clients[i].Close()
					}
				}
				eventually(t, "all streams have ended", func() bool { return r.stats().Streams() == 0 })
				if sets := r.stats().Sets; sets != 0 {
					t.Errorf("%d sets are left", sets)
				}
			})
		}
	}
}

// A big set, or one whose streams take much, does not delay the next set: sweeps take turns.
func TestSetsTakeTurns(t *testing.T) {
	for _, tt := range []struct {
		name          string
		streams, size int
		most          int // streams of the big set that may come before the small set
	}{
		{"many streams", 200, 10, 64},
		{"much data", 40, 100 << 10, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, delivery.Options{})
			for range tt.streams {
				fd, _ := socket(t)
				r.open(t, fd, "big", 0, "open ")
			}
			fd, small := socket(t)
			r.open(t, fd, "small", 0, "open ")
			eventually(t, "all streams are attached", func() bool { return r.stats().Detached == 0 })
			first := make(chan int, 1) // how many streams have the big frame before the small one is written
			r.do(t, func() {
				big := r.add("big", longText("big", tt.size)).position
				r.add("small", "now ").onWire = sync.OnceFunc(func() {
					n := 0
					r.shard.Streams(func(slot uint32) {
						if r.shard.Position(slot) == big {
							n++
						}
					})
					first <- n
				})
			})
			want(t, small, "open now ")
			if first := <-first; first > tt.most {
				t.Errorf("%d streams of the big set came first, want at most %d", first, tt.most)
			}
		})
	}
}

// A group that drains lets its streams have what the feed has not appended yet.
func TestDrainWaitsForTheFeed(t *testing.T) {
	r := newRig(t, delivery.Options{})
	fd, client := socket(t)
	r.open(t, fd, "a", 0, "open ")
	eventually(t, "the stream is attached", func() bool { return r.stats().Detached == 0 })
	r.do(t, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.slowly = true
		for _, text := range []string{"one ", "two ", "three "} {
			r.arrived = append(r.arrived, func() { r.add("a", text) })
		}
		r.group.Drain()
	})
	want(t, client, "open one two three ")
	wantEnd(t, client, delivery.Stopping)
}

// A group closes at the end of the current turn, whatever waits for its shards.
func TestCloseDoesNotWaitForTheFeed(t *testing.T) {
	r := newRig(t, delivery.Options{})
	r.do(t, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.slowly = true
		for range 3 {
			r.arrived = append(r.arrived, func() {})
		}
		var more func()
		more = func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.arrived = append(r.arrived, more) // for ever
		}
		r.arrived = append(r.arrived, more, more)
	})
	closed := make(chan error)
	go func() { closed <- r.group.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("it is not closed")
	}
}
