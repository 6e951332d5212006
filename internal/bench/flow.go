package bench

import (
	"context"
	"sync"
	"sync/atomic"
)

// A flow counts the deliveries that each message still owes. In a closed loop it
// decides from that which message may be published. A delivery is settled when the
// subscriber has received the message or can no longer receive it, because it has
// received a later one or lost its stream.
//
// Messages are numbered from 0 in the order of their publishing. The topic of
// message m is m modulo the number of topics, and its sequence number in the topic
// is m divided by that number. In a closed loop, message m may be published when
// all messages up to m-window are complete: then at most window are in flight.
type flow struct {
	topics uint64
	window uint64         // 0 means an open loop
	slots  []atomic.Int32 // what message m owes, at m%window; or unpublished

	mu       sync.Mutex
	sealed   bool    // no subscriber may join
	live     []int32 // open streams, by topic
	low      uint64  // all messages below are complete
	expected int64   // deliveries owed or settled, without forgiven ones
	waiting  []chan struct{}

	// published has the next message of each publisher: its messages below that
	// are published.
	published []atomic.Uint64
}

// unpublished is the value of a slot whose message is not published.
const unpublished = -1

func newFlow(topics, window, publishers int) *flow {
	f := &flow{
		topics: uint64(topics), window: uint64(window), slots: make([]atomic.Int32, window),
		live: make([]int32, topics), published: make([]atomic.Uint64, publishers),
	}
	for i := range f.slots {
		f.slots[i].Store(unpublished)
	}
	for range publishers {
		f.waiting = append(f.waiting, make(chan struct{}, 1))
	}
	return f
}

// join adds a subscriber of a topic, except after seal. It reports whether it did.
func (f *flow) join(topic uint32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.sealed {
		f.live[topic]++
	}
	return !f.sealed
}

// seal makes join refuse further subscribers.
func (f *flow) seal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sealed = true
}

// leave removes a subscriber that has settled its topic's messages below next. The
// other messages no longer owe it a delivery.
func (f *flow) leave(topic uint32, next uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.live[topic]--
	// The topic's publisher has published all messages of the topic below m.
	m := f.published[int(topic)%len(f.published)].Load()
	count := (m + f.topics - 1 - uint64(topic)) / f.topics
	if m <= uint64(topic) {
		count = 0
	}
	if count <= next {
		return
	}
	f.expected -= int64(count - next)
	if f.window == 0 {
		return
	}
	for seq := max(next, (max(f.low, uint64(topic))-uint64(topic))/f.topics); seq < count; seq++ {
		if m := seq*f.topics + uint64(topic); m >= f.low {
			f.settleLocked(m)
		}
	}
}

// isPublished reports whether message m is published.
func (f *flow) isPublished(m uint64) bool {
	return m < f.published[int(m%f.topics)%len(f.published)].Load()
}

// publish marks message m of a publisher as published. The message then owes a
// delivery to each subscriber of its topic, and an acknowledgement. The publisher
// calls it before it sends the message, in the order of its messages.
func (f *flow) publish(publisher int, m uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	owed := f.live[m%f.topics]
	f.expected += int64(owed)
	if f.window > 0 {
		f.slots[m%f.window].Store(owed + 1)
	}
	f.published[publisher].Store(m + 1)
}

// settle settles one delivery or the acknowledgement of message m. Each may be
// settled only once.
func (f *flow) settle(m uint64) {
	if f.window > 0 && f.slots[m%f.window].Add(-1) == 0 {
		f.mu.Lock()
		f.advance()
		f.mu.Unlock()
	}
}

func (f *flow) settleLocked(m uint64) {
	if f.slots[m%f.window].Add(-1) == 0 {
		f.advance()
	}
}

// advance moves low past the complete messages and wakes the publishers.
func (f *flow) advance() {
	before := f.low
	for f.slots[f.low%f.window].CompareAndSwap(0, unpublished) {
		f.low++
	}
	if f.low == before {
		return
	}
	for _, c := range f.waiting {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// may reports whether message m may be published.
func (f *flow) may(m uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.window == 0 || m < f.low+f.window
}

// wait waits until a publisher may publish message m. Its error is the cause of a
// done context.
func (f *flow) wait(ctx context.Context, publisher int, m uint64) error {
	for !f.may(m) {
		select {
		case <-f.waiting[publisher]:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// owed returns the number of deliveries expected in all.
func (f *flow) owed() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.expected
}
