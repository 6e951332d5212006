package jetlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/tidings/hub"
)

// Append implements [hub.Log]. A message that is larger than the server takes,
// with its headers, gets [hub.ErrTooLarge]. When the disk is full all get
// [hub.ErrFull].
func (l *Log) Append(ctx context.Context, messages []hub.Message) []hub.Appended {
	if len(messages) == 0 {
		return nil
	}
	results := make([]hub.Appended, len(messages))
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
func (l *Log) admit(ctx context.Context, messages []hub.Message) error {
	switch {
	case l.closing.Err() != nil:
		return hub.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	case l.embedded != nil:
		return l.embedded.admit(messages)
	}
	return nil
}

// appendAll sends all without waiting in between.
func (l *Log) appendAll(ctx context.Context, c *core, messages []hub.Message, results []hub.Appended) {
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

// appendEach sends each when the one before is acknowledged.
func (l *Log) appendEach(ctx context.Context, c *core, messages []hub.Message, results []hub.Appended) {
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

func (l *Log) appendOne(ctx context.Context, c *core, m hub.Message) hub.Appended {
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
			return hub.Appended{Err: ctx.Err()}
		}
	}
}

// passable reports whether the messages after one with this error are stored.
func passable(err error) bool {
	return errors.Is(err, hub.ErrKeyConflict) || errors.Is(err, hub.ErrTooLarge)
}

// result turns an acknowledgement into what Append returns.
func (l *Log) result(ctx context.Context, c *core, m hub.Message, a ack) hub.Appended {
	switch {
	case a.err != nil && l.closing.Err() != nil:
		return hub.Appended{Err: hub.ErrClosed}
	case a.err != nil:
		return hub.Appended{Err: a.err}
	case !a.repeat:
		return hub.Appended{Seq: a.seq}
	}
	first, err := c.src.get(ctx, a.seq)
	switch {
	case errors.Is(err, hub.ErrNotFound):
		err = fmt.Errorf("%w, which is no longer retained", hub.ErrKeyConflict)
	case err == nil && (first.Topic != m.Topic || first.Type != m.Type || first.Data != m.Data):
		err = hub.ErrKeyConflict
	}
	if err != nil {
		return hub.Appended{Err: err}
	}
	return hub.Appended{Seq: a.seq, Repeat: true}
}
