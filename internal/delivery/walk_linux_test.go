package delivery_test

import (
	"fmt"
	"net"
	"testing"

	"example.com/tidings/internal/delivery"
)

// Streams may end while others of their set are being written to: wherever the walk
// through them is just then, each of the others goes on. A turn has as many streams as
// one of these powers of two.
func TestStreamsThatEndDuringAWalk(t *testing.T) {
	for _, streams := range []int{2, 64, 128, 129, 256, 512} {
		for _, leaves := range []int{0, 1, streams / 2, streams - 1} {
			t.Run(fmt.Sprintf("%d of %d", leaves, streams), func(t *testing.T) {
				sameDescriptors(t)
				r := newRig(t, delivery.Options{})
				clients := make([]*net.TCPConn, streams)
				var first delivery.Stream
				for i := range clients {
					var fd int
					fd, clients[i] = socket(t)
					st := r.open(t, fd, "a", 0, "open ")
					if i == leaves {
						first = st
					}
				}
				eventually(t, "all have begun", func() bool { return r.stats().Detached == 0 })
				// The walk begins in the same turn, and the next one sees that it is gone.
				r.do(t, func() {
					r.mu.Lock()
					defer r.mu.Unlock()
					r.arrived = append(r.arrived, func() {
						r.add("a", "one ")
						clients[leaves].Close()
					})
				})
				r.ended(t, first, delivery.Left)
				r.append("a", "two ")
				for i := streams - 1; i >= 0; i-- {
					if i != leaves {
						want(t, clients[i], "open one two ")
						clients[i].Close()
					}
				}
				eventually(t, "all have ended", func() bool { return r.stats().Streams() == 0 })
				if sets := r.stats().Sets; sets != 0 {
					t.Errorf("%d sets are left", sets)
				}
			})
		}
	}
}
