package bench

import (
	"context"
	"sync"
	"sync/atomic"
)

// A flow knows how many deliveries each message owes, when all of them are
// settled, and so, in a closed loop, which message may be published. A delivery is
// settled when the message has been received, or cannot be any more: its
// subscriber has received a later one, or has lost its stream.
//
// Messages are numbered from 0 in the order of their publishing; the topic of
// message m is m modulo the number of topics, and its sequence there m divided by
// it. In a closed loop message m may be published once all before m-window are
// complete, so that no more than window are in flight.
type flow struct {
	topics uint64
	window uint64         // 0: an open loop
	slots  []atomic.Int32 // of message m at m%window: what it owes, or unpublished

	mu       sync.Mutex
	sealed   bool    // no subscriber is added any more
	live     []int32 // subscribers of each topic whose stream is open
	low      uint64  // all messages below are complete
	expected int64   // deliveries that are owed or were settled, but for forgiven ones
	waiting  []chan struct{}

	// published has for each publisher the message that it publishes next: those
	// of its topics below that are published.
	published []atomic.Uint64
}

// unpublished is what a slot holds whose message has not been published.
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

// join adds a subscriber of a topic. It reports false after seal.
func (f *flow) join(topic uint32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.sealed {
		f.live[topic]++
	}
	return !f.sealed
}

// seal ends joining.
func (f *flow) seal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sealed = true
}

// leave takes a subscriber away that has settled its topic's messages below next:
// what it is owed of the others is forgiven.
func (f *flow) leave(topic uint32, next uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.live[topic]--
	// Below m all messages of the topic are published, by its one publisher.
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

// isPublished reports whether message m has been.
func (f *flow) isPublished(m uint64) bool {
	return m < f.published[int(m%f.topics)%len(f.published)].Load()
}

// publish enters message m of a publisher as published: it owes a delivery to each
// subscriber of its topic, and its acknowledgement. It is called before the
// message is sent, and for each publisher's messages in order.
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

// settle enters that one thing which message m owes is settled. Nothing is
// settled twice.
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

// advance moves low over what is complete, and wakes the publishers.
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

// wait returns once message m may be published by a publisher, or with the
// context's error.
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

// owed returns how many deliveries are expected in all.
func (f *flow) owed() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.expected
}
