//go:build unix

package soak_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A traffic publishes messages on one topic with one publisher. The data of a message is
// its number, the topic, and padding.
type traffic struct {
	topic   string
	padding string
	ledger  *ledger // without the data of acknowledged messages
	pub     *publisher
	count   atomic.Int64 // acknowledged messages
	stop    context.CancelFunc
	ended   sync.WaitGroup
}

// newTraffic returns a traffic of messages with size bytes of padding. If the server goes
// away, it publishes messages again with their keys.
func newTraffic(t *testing.T, addr, topic string, size int) *traffic {
	tr := &traffic{topic: topic, padding: strings.Repeat("x", size), ledger: newLedger(nil)}
	tr.pub = newPublisher(tr.ledger, func() string { return addr }, true)
	t.Cleanup(tr.close)
	return tr
}

// flow publishes a batch of n messages again and again until close. A failure fails the
// test.
func (tr *traffic) flow(t *testing.T, every time.Duration, n int) {
	ctx, cancel := context.WithCancel(context.Background())
	tr.stop = cancel
	tr.ended.Go(func() {
		defer cancel()
		for ctx.Err() == nil {
			if err := tr.publish(t.Context(), n); err != nil {
				if t.Context().Err() == nil {
					t.Errorf("publishing to %s: %v", tr.topic, err)
				}
				return
			}
			sleep(ctx, every)
		}
	})
}

// publish publishes the next n messages.
func (tr *traffic) publish(ctx context.Context, n int) error {
	first := tr.acked()
	for i := first; i < first+n; i++ {
		tr.ledger.extend(message{Topic: tr.topic, Data: fmt.Sprintf("%d %s %s", i, tr.topic, tr.padding), Key: fmt.Sprintf("%s-%d", tr.topic, i)})
	}
	if err := tr.pub.batch(ctx, first, first+n); err != nil {
		return err
	}
	clear(tr.ledger.plan[first:])
	tr.count.Store(int64(first + n))
	return tr.ledger.ascending(max(0, first-1), first+n)
}

// acked returns how many messages are acknowledged.
func (tr *traffic) acked() int { return int(tr.count.Load()) }

// close ends publishing after the current batch is acknowledged.
func (tr *traffic) close() {
	if tr.stop != nil {
		tr.stop()
	}
	tr.ended.Wait()
	tr.pub.close()
}
