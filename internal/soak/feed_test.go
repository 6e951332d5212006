//go:build unix

package soak_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync/atomic"

	"example.com/tidings/hub"
	"example.com/tidings/sse"
)

// kilobyte returns n messages of 1 kB, on the topics in turn.
func kilobyte(n int, topics ...string) []message {
	padding := strings.Repeat("kilobyte ", 128)
	all := make([]message, n)
	for i := range all {
		data := fmt.Sprintf("%d ", i)
		all[i] = message{Topic: topics[i%len(topics)], Data: data + padding[:1000-len(data)]}
	}
	return all
}

// publishAll publishes messages in batches, in their order.
func publishAll(ctx context.Context, pub *publisher, first, end, batch int) error {
	for ; first < end; first += batch {
		if err := pub.batch(ctx, first, min(end, first+batch)); err != nil {
			return err
		}
	}
	return nil
}

// A listener follows one topic, on which a single publisher publishes messages in
// the order of their plan, and checks each as it comes. One goroutine uses it at
// a time; others may close it.
type listener struct {
	stream atomic.Pointer[stream]
	addr   string
	query  url.Values
	buffer int
	plan   []message
	lastID string
	next   int // the number of the message that comes next
	step   int // and from one to the next
	gaps   []sse.Event
}

// listen opens a stream of one topic, whose messages are each step-th of the
// plan, the first among them number next.
func listen(ctx context.Context, addr, topic string, plan []message, next, step, receiveBuffer int) (*listener, error) {
	l := &listener{addr: addr, query: url.Values{"topic": {topic}}, buffer: receiveBuffer, plan: plan, next: next, step: step}
	return l, l.open(ctx)
}

// open opens the stream, anew if there was one, and takes tidings.open.
func (l *listener) open(ctx context.Context) error {
	st, err := dial(ctx, l.addr, l.query, l.lastID, l.buffer)
	if err != nil {
		return err
	}
	l.stream.Store(st)
	if ctx.Err() != nil { // whoever closed the last one has not seen this one
		st.close()
	}
	ev, err := st.next()
	if err != nil || ev.Type != hub.OpenEventType {
		return fmt.Errorf("the stream begins with %+v, %v", ev, err)
	}
	if l.lastID != "" && l.lastID != ev.ID {
		return fmt.Errorf("came back with %q, and tidings.open says %q", l.lastID, ev.ID)
	}
	l.lastID = ev.ID
	return nil
}

// close closes the connection that there is.
func (l *listener) close() {
	if st := l.stream.Load(); st != nil {
		st.close()
	}
}

// errOrder is wrapped by the error for a message that should not come now.
var errOrder = errors.New("out of order")

// take takes what comes next: a message, which must be the next one, or one
// further on if a gap has been told just before. It is io.EOF at a clean end.
func (l *listener) take() error {
	ev, err := l.stream.Load().next()
	if err != nil {
		return err
	}
	after := l.lastID
	l.lastID = ev.ID
	switch ev.Type {
	case hub.PositionEventType:
		return nil
	case sse.GapEventType:
		l.gaps = append(l.gaps, ev)
		l.next = -1
		return nil
	}
	n, err := number(ev.Data)
	if err != nil || n >= len(l.plan) || ev.Data != l.plan[n].Data {
		return fmt.Errorf("%w: nobody has published %+v", errOrder, ev)
	}
	if l.next >= 0 && n != l.next {
		return fmt.Errorf("%w: after %s comes message %d as %s, and %d should", errOrder, after, n, ev.ID, l.next)
	}
	l.next = n + l.step
	return nil
}

// until takes messages until there are no more before the given one. It comes back
// where the connection ends, if it may, and returns how often.
func (l *listener) until(ctx context.Context, end int, mayReturn bool) (returned int, err error) {
	for l.next < end {
		err := l.take()
		switch {
		case err == nil:
		case errors.Is(err, errOrder) || !mayReturn || ctx.Err() != nil:
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return returned, fmt.Errorf("before message %d of %d: %w", l.next, end, err)
		default:
			returned++
			l.close()
			if err := l.open(ctx); err != nil {
				return returned, err
			}
		}
	}
	return returned, nil
}
