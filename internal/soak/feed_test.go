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

// kilobyte returns n messages of 1 kB, which go to the topics in turn.
func kilobyte(n int, topics ...string) []message {
	padding := strings.Repeat("kilobyte ", 128)
	all := make([]message, n)
	for i := range all {
		data := fmt.Sprintf("%d ", i)
		all[i] = message{Topic: topics[i%len(topics)], Data: data + padding[:1000-len(data)]}
	}
	return all
}

// publishAll publishes messages in order, in batches.
func publishAll(ctx context.Context, pub *publisher, first, end, batch int) error {
	for ; first < end; first += batch {
		if err := pub.batch(ctx, first, min(end, first+batch)); err != nil {
			return err
		}
	}
	return nil
}

// A listener subscribes to one topic and checks each message. A single publisher must
// publish the messages of the topic in the order of the plan. It is for one goroutine at
// a time, but other goroutines may close it.
type listener struct {
	stream atomic.Pointer[stream]
	addr   string
	query  url.Values
	buffer int
	plan   []message
	lastID string
	next   int // the number of the next message; -1 if any may come
	step   int // from the number of a message to the next one's
	gaps   []sse.Event
}

// listen opens a stream of one topic. The messages of the topic are every step-th one of
// the plan, from number next on.
func listen(ctx context.Context, addr, topic string, plan []message, next, step, receiveBuffer int) (*listener, error) {
	l := &listener{addr: addr, query: url.Values{"topic": {topic}}, buffer: receiveBuffer, plan: plan, next: next, step: step}
	return l, l.open(ctx)
}

// open opens the stream, or opens it again, and takes tidings.open.
func (l *listener) open(ctx context.Context) error {
	st, err := dial(ctx, l.addr, l.query, l.lastID, l.buffer)
	if err != nil {
		return err
	}
	l.stream.Store(st)
	if ctx.Err() != nil { // close may have closed only the previous stream
		st.close()
	}
	ev, err := st.next()
	if err != nil || ev.Type != hub.OpenEventType {
		return fmt.Errorf("the stream begins with %+v, %v", ev, err)
	}
	if l.lastID != "" && l.lastID != ev.ID {
		return fmt.Errorf("resumed with %q, but tidings.open says %q", l.lastID, ev.ID)
	}
	l.lastID = ev.ID
	return nil
}

// close closes the current connection.
func (l *listener) close() {
	if st := l.stream.Load(); st != nil {
		st.close()
	}
}

// errOrder is in the error for a message that should not come now.
var errOrder = errors.New("out of order")

// take takes the next event. A message must be the next one, or any later one right after
// a gap. The error is io.EOF after a clean end.
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
	case hub.EndEventType:
		return errStopped
	case sse.GapEventType:
		l.gaps = append(l.gaps, ev)
		l.next = -1
		return nil
	}
	n, err := number(ev.Data)
	if err != nil || n >= len(l.plan) || ev.Data != l.plan[n].Data {
		return fmt.Errorf("%w: this was not published: %+v", errOrder, ev)
	}
	if l.next >= 0 && n != l.next {
		return fmt.Errorf("%w: after %s comes message %d as %s, want message %d", errOrder, after, n, ev.ID, l.next)
	}
	l.next = n + l.step
	return nil
}

// until takes all messages before number end. If mayReturn is set, it reconnects when the
// connection ends. It returns the number of reconnects.
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
