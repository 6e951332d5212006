package dispatch

import (
	"context"
	"time"

	"example.com/tidings/internal/window"
	"example.com/tidings/sse"
)

// awaitTime is how long a stream that is told when it is live waits, before it begins, for the
// window to reach what is stored. That takes milliseconds, unless the log hangs.
const awaitTime = 5 * time.Second

// awaitStored has the stream told once it has everything that is stored now, also by another
// node. It waits until the window has that.
func (c *Cursor) awaitStored(ctx context.Context) error {
	d := c.dispatcher
	state, err := d.log.State(ctx)
	if err != nil {
		return err
	}
	v, stored := d.window.Head()
	if state.Generation == v.Generation {
		stored = max(stored, state.Last)
	}
	ctx, cancel := context.WithTimeout(ctx, awaitTime)
	defer cancel()
	if !d.window.Await(ctx, stored) && d.window.Load().Era() == v.Era() {
		return ctx.Err()
	}
	c.liveAt = stored + 1
	return nil
}

// reachLive goes on where the stream has everything up to liveAt. A stream that began with
// the newest message of each topic first gets those that came in place of others meanwhile, so
// that it has one of each topic when it is live.
func (c *Cursor) reachLive(ctx context.Context, found *findings) error {
	if c.lookTo > 0 {
		c.lookTo = 0
		return c.awaitStored(ctx)
	}
	c.liveAt = 0
	id := c.place(c.pos)
	ev := sse.Event{Type: liveEventType, Data: window.JSON(positionData{id}), ID: id.String()}
	found.add(&window.Notice{At: c.pos, Chunk: window.Chunk(ev), Event: &window.Event{ID: id, Type: ev.Type, Data: ev.Data}}, c.pos)
	return nil
}

// takeStored adds entries of the window that the stream gets before it is live.
func (c *Cursor) takeStored(v *window.View, found *findings) {
	c.liveAt = min(c.liveAt, v.Last()+1) // the log may have lost its end
	m := newMatcher(c.filters)
	for i, e := range v.From(c.pos + 1) {
		if i == readRecords || e.Seq >= c.liveAt {
			return
		}
		if m.match(e.Topic) {
			if !c.take(e, found) {
				return
			}
			found.add(e, e.Seq)
			c.handed++
		}
		c.pos = e.Seq
	}
}
