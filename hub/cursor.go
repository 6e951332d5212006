package hub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/tidings/sse"
)

// What a cursor reads from the log at a time, and its stream holds while it is slow.
const (
	readRecords = 256
	readBytes   = 256 << 10
)

// A cursor is a stream's place in the log, before the stream has reached the window. It
// reads the log at the stream's pace. One goroutine uses it at a time.
type cursor struct {
	hub     *Hub
	filters []Filter
	lag     Lag

	timeline timeline      // by which pos counts
	era      int           // of the view that it is from
	pos      uint64        // everything that matches up to here has been found
	gap      *sse.GapError // comes before all else
	chosen   []uint64      // records up to pos that come next, see FromLast
	looked   uint64        // more of them are still to be looked for after this one,
	lookTo   uint64        // up to this one
	oldest   bool          // it began with the oldest message: what had expired by then is not missed

	// owed asks how many records up to the head, which it returns too, matched since
	// the stream left the window. handed is how many of them the cursor has found, or
	// told to be missed. recount makes the number unknown. Set by a catchUp.
	owed    func() (n, head uint64, ok bool)
	recount func()
	handed  uint64
}

// A whereabouts says where a cursor is after a step.
type whereabouts int

const (
	onTheWay whereabouts = iota
	inWindow             // everything that comes next is in the view
	ended                // the stream is to end: the hub has drained
)

// isInWindow reports whether everything that comes next is in the view.
func (c *cursor) isInWindow() bool {
	v := c.hub.view.load()
	return c.gap == nil && !c.choosing() && v.era() == c.era && c.pos+1 >= v.first
}

// begins returns the position just before the first event that the cursor finds.
func (c *cursor) begins() uint64 {
	switch {
	case len(c.chosen) > 0:
		return c.chosen[0] - 1
	case c.choosing():
		return c.looked
	}
	return c.pos
}

// choosing reports whether records that were chosen come next, or may.
func (c *cursor) choosing() bool { return len(c.chosen) > 0 || c.looked < c.lookTo }

// lookOn looks for some more of the records that are the newest of their topic.
func (c *cursor) lookOn(ctx context.Context) (err error) {
	c.chosen, c.looked, err = c.hub.log.Newest(ctx, c.filters, c.looked, c.lookTo, readRecords)
	return err
}

// step finds some of what comes next, if there is anything.
func (c *cursor) step(ctx context.Context, found *findings) (whereabouts, error) {
	switch {
	case c.gap != nil:
		c.add(found, c.gap)
		c.gap = nil
		return onTheWay, nil
	case len(c.chosen) > 0:
		return c.failed(ctx, c.choose(ctx, found))
	case c.choosing() && c.hub.isDrained():
		return ended, nil // the client comes back for them
	case c.choosing():
		return c.failed(ctx, c.lookOn(ctx))
	}
	v := c.hub.view.load()
	switch {
	case v.era() != c.era:
		c.add(found, c.rebase(v))
		return onTheWay, nil
	case c.pos+1 >= v.first:
		return inWindow, nil
	}
	if c.lag == LagSkip {
		if owed, head, ok := c.owed(); ok {
			c.add(found, c.skip(owed-c.handed, head))
			return onTheWay, nil
		}
	}
	if c.hub.isDrained() {
		return ended, nil // the client comes back for it
	}
	return c.failed(ctx, c.read(ctx, v.last(), found))
}

// add adds a gap to what was found, if there is one.
func (c *cursor) add(found *findings, gap *sse.GapError) {
	if gap != nil {
		found.add(&eventFrame{position: c.pos, chunk: chunk(gapEvent(gap)), gap: gap}, c.pos)
	}
}

// addEntry adds a record to what was found.
func (c *cursor) addEntry(found *findings, e *entry) {
	c.hub.note(e)
	found.add(e, e.Seq)
}

// choose finds the next of the records that were chosen.
func (c *cursor) choose(ctx context.Context, found *findings) error {
	for bytes := 0; len(c.chosen) > 0 && bytes < readBytes; c.chosen = c.chosen[1:] {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch rec, err := c.hub.log.Get(ctx, c.chosen[0]); {
		case errors.Is(err, ErrNotFound): // expired since
		case err != nil:
			return err
		default:
			bytes += len(rec.Data)
			c.addEntry(found, c.timeline.entry(rec))
		}
	}
	return nil
}

// failed returns where a stream is after an error of the log, which ends it.
func (c *cursor) failed(ctx context.Context, err error) (whereabouts, error) {
	switch {
	case err == nil:
		return onTheWay, nil
	case ctx.Err() != nil || errors.Is(err, ErrClosed):
		return ended, nil
	}
	return ended, fmt.Errorf("hub: read the log: %w", err)
}

// matches returns how many records of a view match, after one number and up to another.
func (c *cursor) matches(v *view, after, through uint64) (n uint64) {
	for _, e := range v.from(after + 1) {
		if e.Seq > through {
			break
		}
		if matchAny(c.filters, e.Topic) {
			n++
		}
	}
	return n
}

// skip goes to the head, up to which the stream is owed so many records, and returns the
// gap that this makes: none if all that is owed is in the window after all.
func (c *cursor) skip(owed, head uint64) *sse.GapError {
	v := c.hub.view.load()
	if v.era() != c.era {
		return nil // the next step looks again
	}
	if owed == c.matches(v, 0, head) {
		c.pos = max(c.pos, v.first-1)
		return nil
	}
	after := c.pos
	c.pos = max(c.pos, head)
	c.handed += owed
	return c.gapSince(GapLag, after, owed)
}

// gapSince returns the gap between a place and that where the cursor is now.
func (c *cursor) gapSince(reason string, after, missed uint64) *sse.GapError {
	return &sse.GapError{
		Reason: reason,
		After:  c.timeline.position(after).String(),
		Next:   c.timeline.position(c.pos).String(),
		Missed: missed,
	}
}

// rebase has the cursor go on in a view that was made anew, and returns the gap
// that this makes, if any.
func (c *cursor) rebase(v *view) *sse.GapError {
	at := c.timeline.position(c.pos)
	after, reason := v.timeline.resolve(at)
	for _, e := range v.eras[c.era:] {
		if after > e.last || e.lost {
			after, reason = min(after, e.last), GapLost
		}
	}
	c.timeline, c.era, c.pos = v.timeline, v.era(), after
	if reason == "" {
		return nil
	}
	return &sse.GapError{Reason: reason, After: at.String(), Next: c.timeline.position(after).String()}
}

// read finds what the next batch of the log has.
func (c *cursor) read(ctx context.Context, upTo uint64, found *findings) error {
	b, err := c.hub.read(ctx, c, upTo)
	if err != nil {
		return err
	}
	if b.Lost > c.pos {
		after := c.pos
		c.pos = b.Lost
		c.add(found, c.passed(ctx, after, b))
	}
	c.oldest = false
	for _, e := range b.entries {
		c.addEntry(found, e)
	}
	c.handed += uint64(len(b.entries))
	c.pos = b.Through
	return nil
}

// passed returns the gap from after to where the cursor is now, of which the log
// lacks messages: nil if none of them would have been found.
func (c *cursor) passed(ctx context.Context, after uint64, b *batch) *sse.GapError {
	if !b.Expired {
		c.recount()
		return c.gapSince(GapLost, after, 0)
	}
	if c.oldest {
		return nil
	}
	if _, _, ok := c.owed(); !ok {
		return c.gapSince(GapExpired, after, 0)
	}
	missed, known := c.missed(ctx, b)
	if !known {
		c.recount()
	}
	c.handed += missed
	if known && missed == 0 {
		return nil
	}
	return c.gapSince(GapLag, after, missed)
}

// missed returns how many of the records that it is owed the stream can no longer
// get: all but those of the batch in hand and those that the log still holds.
func (c *cursor) missed(ctx context.Context, b *batch) (n uint64, known bool) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	left, through, err := c.hub.log.Count(ctx, c.filters, b.Through)
	if err != nil || !c.hub.await(ctx, through) {
		return 0, false
	}
	if state, err := c.hub.log.State(ctx); err != nil || state.First > b.Through+1 {
		return 0, false // of what comes after the batch some has gone, perhaps before it was counted
	}
	left += uint64(len(b.entries))
	owed, head, ok := c.owed()
	v := c.hub.view.load()
	if !ok || v.era() != c.era || v.first > through+1 {
		return 0, false
	}
	owed -= c.handed
	if left += c.matches(v, through, head); left > owed {
		return 0, false
	}
	return owed - left, true
}
