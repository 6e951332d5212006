package delivery_test

import (
	"fmt"
	"net"
	"testing"

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
