package hub

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"example.com/tidings/sse"
)

// What a cursor reads from the log at a time, and holds while its subscriber
// stalls.
const (
	readRecords = 256
	readBytes   = 256 << 10
)

// What a cursor takes from the view at a time, and holds likewise.
const (
	burstEntries = 64
	burstBytes   = 64 << 10
)

// A cursor is one subscriber's place in the log. It has no queue: it reads from
// the view, which all share, and further back from the log, at its own pace. It
// belongs to the goroutine that runs it, but for what is guarded by the hub's mu.
type cursor struct {
	hub     *Hub
	filters []Filter
	lag     Lag

	timeline timeline // by which pos counts
	era      int      // of the view that it is from
	pos      uint64   // everything that matches up to here has been handed on
	first    item     // what comes before all else, if it is not the zero item
	chosen   []uint64 // records up to pos that come next, see FromLast
	looked   uint64   // more of them are still to be looked for after this one,
	lookTo   uint64   // up to this one
	burst    []*entry // those that were found in the view and come next
	oldest   bool     // it began with the oldest message: what had expired by then is not missed
	away     bool     // it catches up for a stream that was taken over
	wake     chan struct{}

	// A cursor joins when it has reached the window. From then on it counts what
	// matches, and so knows how much it missed when it has fallen behind.
	joined atomic.Bool // stored under the hub's mu
	ahead  uint64      // records that matched in the window when it joined
	handed uint64      // records handed on, or told to be missed, since

	// Guarded by the hub's mu.
	counted uint64 // the last record that was looked at
	matched uint64 // records that match and came after joining
	idle    bool   // it waits for the next that matches
	found   uint64 // what that was, once it is no longer idle; 0 if it is not known
}

// An item is what a cursor hands on: a record, a gap, or the news that there was
// nothing for a while.
type item struct {
	entry *entry
	gap   *sse.GapError
	tick  bool
	more  bool // another item comes at once
}

// notice takes note of a record that matches, as the hub's head comes to it.
// Callers hold mu.
func (c *cursor) notice(seq uint64) {
	if !c.joined.Load() || seq <= c.counted { // another of its filters has matched, or it was handed on before
		return
	}
	c.counted = seq
	c.matched++
	if c.idle {
		c.rouse(seq)
	}
}

// unsettle makes the cursor look up, since it can no longer tell what it is
// owed. Callers hold mu.
func (c *cursor) unsettle() {
	c.joined.Store(false)
	if c.idle {
		c.rouse(0)
	}
}

func (c *cursor) rouse(found uint64) {
	c.idle, c.found = false, found
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run hands on what the cursor comes to, until ctx is done, the hub has drained,
// or yield returns false. An error ends it, and is returned. keepAlive is after
// how much silence a tick is handed on; not if it is negative.
func (c *cursor) run(ctx context.Context, keepAlive time.Duration, yield func(item) bool) error {
	c.hub.enter(c)
	defer c.hub.leave(c)
	silence := newSilence(keepAlive)
	defer silence.stop()
	handOn := yield
	yield = func(it item) bool {
		ok := handOn(it)
		silence.restart()
		return ok
	}
	for ctx.Err() == nil {
		drained := c.hub.isDrained() // before the view is taken
		at, err := c.step(ctx, yield)
		switch {
		case err != nil || at == ended:
			return c.failed(ctx, err)
		case at != atHead:
		case drained:
			return nil
		case c.wait(ctx, silence) && !yield(item{tick: true}):
			return nil
		}
	}
	return nil
}

// A whereabouts says where a cursor is after a step.
type whereabouts int

const (
	onTheWay whereabouts = iota
	inWindow             // what comes next is in the view
	atHead               // there is nothing more, for now
	ended                // yield has returned false, or the hub has drained
)

// step hands on some of what comes next, if there is anything.
func (c *cursor) step(ctx context.Context, yield func(item) bool) (whereabouts, error) {
	switch {
	case c.first != (item{}):
		it := c.first
		c.first = item{}
		return c.wanted(yield(it)), nil
	case c.choosing():
		more, err := c.choose(ctx, yield)
		return c.wanted(more), err
	}
	v := c.hub.view.load()
	var gap *sse.GapError
	switch {
	case v.era() != c.era:
		gap = c.rebase(v)
	case c.pos+1 >= v.first && !c.joined.Load():
		c.join()
		return inWindow, nil
	case c.pos >= v.last():
		return atHead, nil
	case c.pos+1 >= v.first:
		c.scan(v)
		v = nil // a subscriber that stalls must not hold a window that has moved on
		return c.wanted(c.handBurst(ctx, yield)), nil
	case c.lag == LagSkip && c.joined.Load():
		gap = c.skip()
	case c.hub.isDrained():
		return ended, nil // the client comes back for it
	default:
		last := v.last()
		v = nil
		more, err := c.catchUp(ctx, last, yield)
		return c.wanted(more), err
	}
	return c.wanted(gap == nil || yield(item{gap: gap})), nil
}

func (c *cursor) wanted(more bool) whereabouts {
	if !more {
		return ended
	}
	return onTheWay
}

// choosing reports whether records that were chosen come next, or may.
func (c *cursor) choosing() bool { return len(c.chosen) > 0 || c.looked < c.lookTo }

// lookOn looks for some more of the records that are the newest of their topic.
func (c *cursor) lookOn(ctx context.Context) (err error) {
	c.chosen, c.looked, err = c.hub.log.Newest(ctx, c.filters, c.looked, c.lookTo, readRecords)
	return err
}

// choose hands on the records that were chosen, or looks for more of them if all were
// handed on. It reports whether yield wants more.
func (c *cursor) choose(ctx context.Context, yield func(item) bool) (bool, error) {
	if len(c.chosen) == 0 {
		if c.hub.isDrained() {
			return false, nil // the client comes back for them
		}
		return true, c.lookOn(ctx)
	}
	for i, seq := range c.chosen {
		if ctx.Err() != nil {
			return false, nil
		}
		switch rec, err := c.hub.log.Get(ctx, seq); {
		case errors.Is(err, ErrNotFound): // expired since
		case err != nil:
			return false, err
		case !yield(item{entry: c.timeline.entry(rec)}):
			c.chosen = c.chosen[i+1:]
			return false, nil
		}
	}
	c.chosen = nil
	return true, nil
}

// failed returns the error of the log that ends the stream.
func (c *cursor) failed(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil || errors.Is(err, ErrClosed) {
		return nil
	}
	return fmt.Errorf("hub: read the log: %w", err)
}

// scan takes the next records of the view that match.
func (c *cursor) scan(v *view) {
	bytes := 0
	for _, e := range v.from(c.pos + 1) {
		c.pos = e.Seq
		if !matchAny(c.filters, e.Topic) {
			continue
		}
		c.burst = append(c.burst, e)
		if bytes += len(e.Data); len(c.burst) == burstEntries || bytes >= burstBytes {
			return
		}
	}
}

// handBurst hands on what scan has found, and reports whether yield wants more.
func (c *cursor) handBurst(ctx context.Context, yield func(item) bool) bool {
	for i, e := range c.burst {
		c.burst[i] = nil
		c.handed++
		if ctx.Err() != nil || !yield(item{entry: e, more: i+1 < len(c.burst)}) {
			return false
		}
	}
	c.burst = c.burst[:0]
	return true
}

// wait waits at the head for a record that matches. It reports whether there was
// none for the time of silence.
func (c *cursor) wait(ctx context.Context, silence *silence) (tick bool) {
	h := c.hub
	h.mu.Lock()
	if v := h.view.load(); v.last() > c.pos || v.era() != c.era || !c.joined.Load() {
		h.mu.Unlock()
		return false
	}
	c.idle, c.found = true, 0
	h.mu.Unlock()

	select {
	case <-c.wake:
	case <-silence.after():
		tick = true
	case <-ctx.Done():
	case <-h.drained:
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case c.idle:
		// Nothing that matches has come up to the head.
		c.idle = false
		c.pos = max(c.pos, h.view.load().last())
		return tick
	case c.found > 0:
		c.pos = max(c.pos, c.found-1)
	}
	return false
}

// join has the cursor count what matches, if it is in the window.
func (c *cursor) join() {
	c.hub.mu.Lock()
	v := c.hub.view.load()
	if c.pos+1 < v.first || v.era() != c.era {
		c.hub.mu.Unlock()
		return
	}
	c.joined.Store(true)
	c.counted, c.matched = max(c.pos, v.last()), 0
	c.hub.mu.Unlock()
	c.oldest = false
	c.ahead, c.handed = c.matches(v, c.pos), 0
}

// matches returns how many records of a view match, after the given one.
func (c *cursor) matches(v *view, after uint64) (n uint64) {
	for _, e := range v.from(after + 1) {
		if matchAny(c.filters, e.Topic) {
			n++
		}
	}
	return n
}

// owed returns how many records up to the head, which it returns too, the cursor
// has neither handed on nor told to be missed. ok is false if it has not joined.
func (c *cursor) owed() (n uint64, v *view, ok bool) {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	return c.ahead + c.matched - c.handed, c.hub.view.load(), c.joined.Load()
}

// skip goes to the head, and returns the gap that this makes: none if all that is
// owed is in the window after all.
func (c *cursor) skip() *sse.GapError {
	owed, v, ok := c.owed()
	switch {
	case !ok:
		return nil // unsettled just now: it looks again
	case owed == c.matches(v, 0):
		c.pos = v.first - 1
		return nil
	}
	after := c.pos
	c.pos = v.last()
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

// catchUp hands on a batch from the log, and reports whether yield wants more.
func (c *cursor) catchUp(ctx context.Context, upTo uint64, yield func(item) bool) (bool, error) {
	b, err := c.hub.read(ctx, c, upTo)
	if err != nil {
		return false, err
	}
	if b.Lost > c.pos {
		after := c.pos
		c.pos = b.Lost
		if gap := c.passed(ctx, after, b); gap != nil {
			if !yield(item{gap: gap}) {
				return false, nil
			}
		}
	}
	c.oldest = false
	for i, e := range b.entries {
		c.pos = e.Seq
		c.handed++
		if ctx.Err() != nil || !yield(item{entry: e, more: i+1 < len(b.entries)}) {
			return false, nil
		}
	}
	c.pos = b.Through
	return true, nil
}

// passed returns the gap from after to where the cursor is now, of which the log
// lacks messages: nil if none of them would have been handed on.
func (c *cursor) passed(ctx context.Context, after uint64, b *batch) *sse.GapError {
	if !b.Expired {
		c.recount()
		return c.gapSince(GapLost, after, 0)
	}
	if c.oldest {
		return nil
	}
	if !c.joined.Load() {
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

// missed returns how many of the records that it is owed the cursor can no longer
// come to: all but those of the batch in hand and those that the log still holds.
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
	owed, v, ok := c.owed()
	if !ok || v.first > through+1 {
		return 0, false
	}
	if left += c.matches(v, through); left > owed {
		return 0, false
	}
	return owed - left, true
}

// recount has the cursor join anew, once it is in the window again.
func (c *cursor) recount() {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	c.joined.Store(false)
}

// enter has the hub tell the cursor what comes.
func (h *Hub) enter(c *cursor) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.index.add(c, c.filters)
	h.cursors[c] = struct{}{}
}

// leave ends that.
func (h *Hub) leave(c *cursor) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.index.remove(c, c.filters)
	delete(h.cursors, c)
}

// A silence measures how long nothing was handed on.
type silence struct {
	limit time.Duration
	since time.Time
	timer *time.Timer
}

func newSilence(limit time.Duration) *silence {
	s := &silence{limit: limit, since: time.Now()}
	if limit > 0 {
		s.timer = time.NewTimer(limit)
	}
	return s
}

func (s *silence) restart() { s.since = time.Now() }

// after returns a channel that receives when the silence has lasted for the
// limit, nil if there is none.
func (s *silence) after() <-chan time.Time {
	if s.timer == nil {
		return nil
	}
	s.timer.Reset(s.limit - time.Since(s.since))
	return s.timer.C
}

func (s *silence) stop() {
	if s.timer != nil {
		s.timer.Stop()
	}
}
