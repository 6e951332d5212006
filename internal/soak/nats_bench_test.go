//go:build unix

package soak_test

import (
	"fmt"
	"testing"

	"example.com/tidings/internal/natstest"
)

// Publishes durably over HTTP, to one NATS server and to a cluster of three. All run
// on this machine.
func BenchmarkPublishToNATS(b *testing.B) {
	for _, replicas := range []int{1, 3} {
		b.Run(fmt.Sprintf("replicas=%d", replicas), func(b *testing.B) {
			urls := ""
			if replicas == 1 {
				urls = natstest.Start(b).URL
			} else {
				urls = natstest.URLs(natstest.StartCluster(b))
			}
			for i, l := range []load{single, batch100} {
				for _, connections := range []int{1, 64} {
					b.Run(fmt.Sprintf("%s/connections=%d", l.name, connections), func(b *testing.B) {
						stream := fmt.Sprintf("bench%d-%d", i, connections)
						l.run(b, serve(b, "--nats", urls, "--nats-replicas", fmt.Sprint(replicas), "--nats-stream", stream), connections)
					})
				}
			}
		})
	}
}
