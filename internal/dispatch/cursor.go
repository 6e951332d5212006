package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/window"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// A batch that a cursor reads from the log has at most readRecords records, and ends once
// their data has readBytes, or less: see Cursor.readMost. A stream takes as much of it as it
// has room for, and one message at least.
const (
	readRecords = 256
	readBytes   = 128 << 10
)

// A Cursor is the place in the log of one stream that is not in the window. It reads the
// log at the stream's pace. One goroutine uses it at a time.
type Cursor struct {
	dispatcher *Dispatcher
	booking    *Booking
	filters    []topics.Filter // of the booking
	skip       bool            // skip to the newest message instead of reading the log, see Request

	// The view whose sequence numbers pos and the others are.
	timeline   eventlog.Timeline
	generation uint64
	era        int

	pos    uint64        // every matching record up to here has been found
	gap    *sse.GapError // comes before everything else
	chosen []uint64      // records up to pos that come next, see StartLast
	looked uint64        // the cursor has looked for chosen records up to this one
	lookTo uint64        // and has to look up to this one
	oldest bool          // the stream began with the oldest message: it misses nothing that had expired by then
	knows  string        // the epoch of the last cut that the client knows of, see [eventlog.Timeline.NextCut]

	// take reports whether the stream has room for an entry beside the findings. readMost is
	// how many bytes of data fill that room, about. A catchUp sets both.
	take     func(e *window.Entry, found *findings) bool
	readMost int

	// owed returns how many records up to head, which is at least least, have matched since
	// the stream left the window. handed is how many of them the cursor has found, or
	// reported as missed. forgetOwed makes the number unknown. A catchUp sets the functions.
	owed       func(least uint64) (n, head uint64, ok bool)
	forgetOwed func()
	handed     uint64

	reserved atomic.Int64 // nodes of the index, until the stream begins: see Release
}

// Release gives back what a stream has reserved that does not begin. If the stream has begun,
// it does nothing. Any goroutine may call it.
func (c *Cursor) Release() {
	c.dispatcher.opts.Budgets.IndexNodes.Give(int(c.reserved.Swap(0)))
}

// A stage says where a cursor is after a step.
type stage int

const (
	reading  stage = iota // there is more to read
	inWindow              // everything that comes next is in the window
	outdated              // the log was opened anew: the window has to be read anew before the next step
	ended                 // the stream has to end, because the hub has drained
)

// isInWindow reports whether the window has everything that comes next.
func (c *Cursor) isInWindow() bool {
	v := c.dispatcher.window.Load()
	return c.gap == nil && !c.choosing() && v.Era() == c.era && c.pos+1 >= v.First() && !c.atCut()
}

// Begins returns the position just before the first event that the cursor finds.
func (c *Cursor) Begins() uint64 {
	switch {
	case len(c.chosen) > 0:
		return c.chosen[0] - 1
	case c.choosing():
		return c.looked
	}
	return c.pos
}

// choosing reports whether chosen records come next, or may.
func (c *Cursor) choosing() bool { return len(c.chosen) > 0 || c.looked < c.lookTo }

// atCut reports whether the client has to be told that records after pos are lost, although the log
// has used their numbers again.
func (c *Cursor) atCut() bool {
	at, epoch, ok := c.timeline.NextCut(c.pos)
	return ok && at == c.pos && epoch != c.knows
}

// place returns a position as the client has it, which knows of all cuts up to pos.
func (c *Cursor) place(pos uint64) eventlog.Position {
	if at, epoch, ok := c.timeline.NextCut(pos); ok && at == pos && epoch == c.knows {
		return eventlog.Position{Epoch: epoch, Seq: pos}
	}
	return c.timeline.Position(pos)
}

// passCut returns the gap at the cut after pos, of which the client then knows.
func (c *Cursor) passCut() *sse.GapError {
	after := c.place(c.pos)
	_, c.knows, _ = c.timeline.NextCut(c.pos)
	c.forgetOwed()
	return &sse.GapError{Reason: sse.GapLost, After: after.String(), Next: c.place(c.pos).String()}
}

// lookOn looks for some more records that are the newest of their topic.
func (c *Cursor) lookOn(ctx context.Context) (err error) {
	c.chosen, c.looked, err = c.dispatcher.log.Newest(ctx, c.filters, c.looked, c.lookTo, readRecords)
	return err
}

// step finds some of the frames that come next, if there are any.
func (c *Cursor) step(ctx context.Context, found *findings) (stage, error) {
	switch {
	case c.gap != nil:
		c.add(found, c.gap)
		c.gap = nil
		return reading, nil
	}
	v := c.dispatcher.window.Load()
	switch {
	case v.Era() != c.era:
		c.add(found, c.rebase(v))
		return reading, nil
	case len(c.chosen) > 0:
		return c.failed(ctx, c.choose(ctx, found))
	case c.choosing() && c.dispatcher.drained.Load():
		return ended, nil // the client comes back for them
	case c.choosing():
		return c.failed(ctx, c.lookOn(ctx))
	case c.atCut():
		c.add(found, c.passCut())
		return reading, nil
	case c.pos+1 >= v.First():
		return inWindow, nil
	}
	if c.skip {
		if owed, head, ok := c.owed(c.pos); ok {
			c.add(found, c.skipTo(owed-c.handed, head))
			return reading, nil
		}
	}
	if c.dispatcher.drained.Load() {
		return ended, nil // the client comes back for it
	}
	return c.failed(ctx, c.read(ctx, v.Last(), found))
}

// add adds a gap to the findings, unless it is nil.
func (c *Cursor) add(found *findings, gap *sse.GapError) {
	if gap != nil {
		found.add(window.GapNotice(gap, c.Begins()), c.Begins())
	}
}

// choose finds the next of the chosen records.
func (c *Cursor) choose(ctx context.Context, found *findings) error {
	for ; len(c.chosen) > 0 && len(found.frames) < readRecords; c.chosen = c.chosen[1:] {
		b, err := c.dispatcher.log.Read(ctx, eventlog.Query{
			Filters: c.filters, After: c.chosen[0] - 1, UpTo: c.chosen[0], Generation: c.generation,
			MaxRecords: 1, MaxBytes: 1,
		})
		if err != nil {
			return err
		}
		if b.Hole > 0 && b.Reason == sse.GapLost {
			gap := &sse.GapError{
				Reason: b.Reason,
				After:  c.timeline.Position(c.chosen[0] - 1).String(),
				Next:   c.timeline.Position(b.Hole).String(),
			}
			found.add(window.GapNotice(gap, b.Hole), b.Hole)
		}
		for _, rec := range b.Records { // none if it was removed or has expired since
			if strings.HasPrefix(rec.Topic, topics.ReservedPrefix) {
				continue
			}
			e := c.dispatcher.window.Entry(c.timeline, rec)
			if !c.take(e, found) {
				return nil
			}
			found.add(e, rec.Seq)
		}
	}
	return nil
}

// failed returns where the cursor is after reading, which may have failed. An error of the
// log ends the stream.
func (c *Cursor) failed(ctx context.Context, err error) (stage, error) {
	switch {
	case err == nil:
		return reading, nil
	case errors.Is(err, eventlog.ErrReopened):
		return outdated, nil
	case ctx.Err() != nil || errors.Is(err, eventlog.ErrClosed):
		return ended, nil
	}
	return ended, fmt.Errorf("read the log: %w", err)
}

// matches returns how many matching entries a view has after one number and up to another.
func (c *Cursor) matches(v *window.View, after, through uint64) (n uint64) {
	m := newMatcher(c.filters)
	for _, e := range v.From(after + 1) {
		if e.Seq > through {
			break
		}
		if m.match(e.Topic) {
			n++
		}
	}
	return n
}

// skipTo goes to the head, up to which there are so many records for the stream. It returns
// the gap that this makes, or nil if the window has all of them after all.
func (c *Cursor) skipTo(owed, head uint64) *sse.GapError {
	v := c.dispatcher.window.Load()
	if v.Era() != c.era {
		return nil // the next step looks again
	}
	if owed == c.matches(v, 0, head) {
		c.pos = max(c.pos, v.First()-1)
		return nil
	}
	after := c.pos
	c.pos = max(c.pos, head)
	c.handed += owed
	return c.gapSince(sse.GapLag, after, owed)
}

// gapSince returns the gap from a position to the cursor's.
func (c *Cursor) gapSince(reason string, after, missed uint64) *sse.GapError {
	return &sse.GapError{
		Reason: reason,
		After:  c.place(after).String(),
		Next:   c.place(c.pos).String(),
		Missed: missed,
	}
}

// rebase moves the cursor to a view of a later era, and returns the gap that this makes,
// if any.
func (c *Cursor) rebase(v *window.View) *sse.GapError {
	begins := c.place(c.Begins())
	after, reason := v.Resume(c.place(c.pos), c.era)
	if c.choosing() {
		from, _ := v.Resume(begins, c.era)
		c.chosen, c.looked, c.lookTo = nil, min(from, after), after
	}
	c.use(v, after)
	if reason == "" {
		return nil
	}
	c.knowCut()
	return &sse.GapError{Reason: reason, After: begins.String(), Next: c.place(c.Begins()).String()}
}

// knowCut notes that the client knows of a cut after pos, if there is one.
func (c *Cursor) knowCut() {
	if at, epoch, ok := c.timeline.NextCut(c.pos); ok && at == c.pos {
		c.knows = epoch
	}
}

// use sets the view and the position of the cursor.
func (c *Cursor) use(v *window.View, pos uint64) {
	c.timeline, c.generation, c.era, c.pos = v.Timeline, v.Generation, v.Era(), pos
}

// read adds the next batch of the log to the findings.
func (c *Cursor) read(ctx context.Context, upTo uint64, found *findings) error {
	if cut, _, ok := c.timeline.NextCut(c.pos + 1); ok {
		upTo = min(upTo, cut) // what comes then is told first
	}
	b, err := c.dispatcher.reads.read(ctx, c, upTo)
	if err != nil {
		return err
	}
	if b.Hole > c.pos {
		after := c.pos
		c.pos = b.Hole
		c.add(found, c.passed(ctx, after, b))
	}
	c.oldest = false
	for _, e := range b.entries {
		if !c.take(e, found) {
			return nil
		}
		found.add(e, e.Seq)
		c.handed++
		c.pos = e.Seq
	}
	c.pos = b.Through
	return nil
}

// passed returns the gap from after to the cursor's position, where the log lacks records. It
// returns nil if none of them is missing for this stream.
func (c *Cursor) passed(ctx context.Context, after uint64, b *sharedBatch) *sse.GapError {
	if b.Reason != sse.GapExpired {
		c.forgetOwed()
		return c.gapSince(b.Reason, after, 0)
	}
	if c.oldest {
		return nil
	}
	if _, _, ok := c.owed(0); !ok {
		return c.gapSince(sse.GapExpired, after, 0)
	}
	missed, known := c.missed(ctx, b)
	if !known {
		c.forgetOwed()
	}
	c.handed += missed
	if known && missed == 0 {
		return nil
	}
	return c.gapSince(sse.GapLag, after, missed)
}

// missed returns how many of its records the stream can no longer get: all but those of the
// batch b and those that the log still holds.
func (c *Cursor) missed(ctx context.Context, b *sharedBatch) (n uint64, known bool) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	left, through, err := c.dispatcher.count(ctx, c.filters, b.Through)
	if err != nil || !c.dispatcher.window.Await(ctx, through) {
		return 0, false
	}
	if state, err := c.dispatcher.log.State(ctx); err != nil || state.First > b.Through+1 {
		return 0, false // of what comes after the batch some has gone, perhaps before it was counted
	}
	left += uint64(len(b.entries))
	owed, head, ok := c.owed(through)
	v := c.dispatcher.window.Load()
	if !ok || v.Era() != c.era || v.First() > through+1 {
		return 0, false
	}
	owed -= c.handed
	if left += c.matches(v, through, head); left > owed {
		return 0, false
	}
	return owed - left, true
}
