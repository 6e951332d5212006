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

// A traffic is what is published on one topic, by one publisher: messages whose data
// are their number, the topic, and padding.
type traffic struct {
	topic   string
	padding string
	ledger  *ledger // without the data of what is acknowledged
	pub     *publisher
	count   atomic.Int64 // of what is acknowledged
	stop    context.CancelFunc
	ended   sync.WaitGroup
}

// newTraffic returns one of messages of some size. Where the server goes away they are
// published again, under their keys.
func newTraffic(t *testing.T, addr, topic string, size int) *traffic {
	tr := &traffic{topic: topic, padding: strings.Repeat("x", size), ledger: newLedger(nil)}
	tr.pub = newPublisher(tr.ledger, func() string { return addr }, true)
	t.Cleanup(tr.close)
	return tr
}

// flow publishes n messages at once, again and again, until it is closed. A failure
// is the test's.
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

// close ends publishing, when what is under way is acknowledged.
func (tr *traffic) close() {
	if tr.stop != nil {
		tr.stop()
	}
	tr.ended.Wait()
	tr.pub.close()
}
