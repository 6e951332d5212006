package jetlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/tidings/eventlog"
)

// Append implements [eventlog.Log]. A message that, with its headers, is larger than the
// server takes gets [eventlog.ErrTooLarge]. When the disk is full, all messages get
// [eventlog.ErrFull].
func (l *Log) Append(ctx context.Context, messages []eventlog.Message) []eventlog.Appended {
	if len(messages) == 0 {
		return nil
	}
	results := make([]eventlog.Appended, len(messages))
	c := l.core.Load()
	if err := l.admit(ctx, messages); err != nil {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	if l.external != nil {
		l.appendEach(ctx, c, messages, results)
	} else {
		l.appendAll(ctx, c, messages, results)
	}
	return results
}

// admit returns why nothing can be appended now.
func (l *Log) admit(ctx context.Context, messages []eventlog.Message) error {
	switch {
	case l.closing.Err() != nil:
		return eventlog.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	case l.embedded != nil:
		return l.embedded.admit(messages)
	}
	return nil
}

// appendAll sends all messages without waiting in between.
func (l *Log) appendAll(ctx context.Context, c *core, messages []eventlog.Message, results []eventlog.Appended) {
	g := newGroup(len(messages))
	for i, m := range messages {
		if err := c.pub.send(ctx, g, i, m); err != nil {
			for j := i + 1; j < len(messages); j++ {
				g.set(j, ack{err: err})
			}
			break
		}
	}
	var stop error
	for i, a := range c.pub.wait(ctx, g) {
		if stop != nil {
			results[i].Err = stop
			continue
		}
		results[i] = l.result(ctx, c, messages[i], a)
		if a.err != nil && !passable(results[i].Err) {
			stop = results[i].Err
		}
	}
	if errors.Is(stop, errNoAnswer) {
		l.embedded.failed(l, c)
	}
}

// appendEach sends each message once the one before is acknowledged.
func (l *Log) appendEach(ctx context.Context, c *core, messages []eventlog.Message, results []eventlog.Appended) {
	for i, m := range messages {
		results[i] = l.appendOne(ctx, c, m)
		if err := results[i].Err; err != nil && !passable(err) {
			if errors.Is(err, errNoStream) {
				l.external.suspect()
			}
			for j := range results[i:] {
				results[i+j].Err = err
			}
			return
		}
	}
}

func (l *Log) appendOne(ctx context.Context, c *core, m eventlog.Message) eventlog.Appended {
	for {
		g := newGroup(1)
		c.pub.send(ctx, g, 0, m)
		a := c.pub.wait(ctx, g)[0]
		if e, ok := errors.AsType[*apiError](a.err); !ok || e.Code != codeInFlight {
			return l.result(ctx, c, m, a)
		}
		// Another message with the same key is being replicated.
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return eventlog.Appended{Err: ctx.Err()}
		}
	}
}

// passable reports whether the messages after one with this error are stored.
func passable(err error) bool {
	return errors.Is(err, eventlog.ErrKeyConflict) || errors.Is(err, eventlog.ErrTooLarge)
}

// result turns the acknowledgement of a message into its result.
func (l *Log) result(ctx context.Context, c *core, m eventlog.Message, a ack) eventlog.Appended {
	switch {
	case a.err != nil && l.closing.Err() != nil:
		return eventlog.Appended{Err: eventlog.ErrClosed}
	case a.err != nil:
		return eventlog.Appended{Err: a.err}
	case !a.repeat:
		return eventlog.Appended{ID: c.epochs.Position(a.seq)}
	}
	first, err := c.src.get(ctx, a.seq)
	switch {
	case errors.Is(err, eventlog.ErrNotFound):
		err = fmt.Errorf("%w, which is no longer retained", eventlog.ErrKeyConflict)
	case err == nil && (first.Topic != m.Topic || first.Type != m.Type || first.Data != m.Data):
		err = eventlog.ErrKeyConflict
	}
	if err != nil {
		return eventlog.Appended{Err: err}
	}
	return eventlog.Appended{ID: c.epochs.Position(a.seq), Repeat: true}
}
