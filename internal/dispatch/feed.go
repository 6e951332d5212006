package dispatch

import (
	"sync"
	"sync/atomic"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/delivery"
	"example.com/tidings/internal/window"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// A feed decides what the streams of one shard get: entries of the window, or what a catchUp
// reads from the log. Unless noted, only the shard's goroutine uses its methods and fields.
type feed struct {
	dispatcher *Dispatcher
	shard      *delivery.Shard

	sets  map[string]*delivery.Set // by their filters' key
	index index[*delivery.Set]

	// The sets have every matching entry up to head, a number of this generation and era.
	timeline   eventlog.Timeline
	generation uint64
	era        int
	head       uint64

	entry   *window.Entry // while match is called for it
	matched func(*delivery.Set)

	catchUps map[uint32]*catchUp // of the streams that are not in the window, by slot

	position   []delivery.Frame // the keep-alive that tells positionAt, or nil
	positionAt uint64

	news atomic.Bool // arrived is not empty
	mu   sync.Mutex
	idle bool // the shard has no streams, and need not wake for entries
	arrived
}

// arrived is what the window has told a feed since the feed last looked.
type arrived struct {
	view    *window.View // not nil if the window was read from the log anew
	passed  uint64       // the last entry that came while the feed was idle
	entries []*window.Entry
}

// A filterSet is the Key of a [delivery.Set].
type filterSet struct {
	*Booking
	last uint64 // the number of the entry that was last appended
}

func newFeed(d *Dispatcher, s *delivery.Shard) *feed {
	v := d.window.Load()
	f := &feed{
		dispatcher: d, shard: s,
		sets:     map[string]*delivery.Set{},
		catchUps: map[uint32]*catchUp{},
		timeline: v.Timeline, generation: v.Generation, era: v.Era(), head: v.Last(), idle: true,
	}
	f.matched = f.match
	return f
}

// extended tells the feed of new entries. It is for any goroutine.
func (f *feed) extended(entries []*window.Entry) {
	if f.take(entries) {
		f.shard.Wake()
	}
}

// take reports whether the shard has to wake for new entries.
func (f *feed) take(entries []*window.Entry) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.news.Store(true)
	if f.idle && len(entries) > 0 {
		f.passed = entries[len(entries)-1].Seq
		return false
	}
	f.arrived.entries = append(f.arrived.entries, entries...)
	return true
}

// setIdle notes whether the shard has streams. An idle feed gets no entries.
func (f *feed) setIdle(idle bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.idle = idle
}

// renewed tells the feed of a view that was read from the log anew. It is for any goroutine.
func (f *feed) renewed(v *window.View) {
	f.mu.Lock()
	f.arrived = arrived{view: v}
	f.mu.Unlock()
	f.news.Store(true)
	f.shard.Wake()
}

// Advance appends the entries that have arrived to the sets.
func (f *feed) Advance() {
	if !f.news.Swap(false) {
		return
	}
	f.mu.Lock()
	a := f.arrived
	f.arrived = arrived{}
	f.mu.Unlock()
	if a.view != nil {
		v := a.view
		f.detachAll(v.Last(), func() { f.timeline, f.generation, f.era = v.Timeline, v.Generation, v.Era() })
		f.submitOutdated()
	}
	f.head = max(f.head, a.passed)
	for _, e := range a.entries {
		switch {
		case e.Seq <= f.head:
			continue
		case e.Seq > f.head+1:
			// Records between were removed before this node read them.
			f.detachAll(e.Seq-1, func() {})
		}
		f.entry = e
		f.index.match(e.Topic, f.matched)
		f.head = e.Seq
	}
	f.entry = nil
}

// match appends f.entry to a set.
func (f *feed) match(set *delivery.Set) {
	key := set.Key.(*filterSet)
	if key.last == f.entry.Seq { // another filter of the set has matched
		return
	}
	key.last = f.entry.Seq
	f.shard.Append(set, f.entry)
	f.forget(set)
}

// detachAll detaches every stream from its set, because the frames up to the new head are
// unavailable. Each stream then catches up from the log.
func (f *feed) detachAll(head uint64, change func()) {
	was := f.head
	for _, c := range f.catchUps {
		c.exact = false // the sets have not counted the entries that were passed over
	}
	f.shard.Streams(func(slot uint32) {
		if f.catchUps[slot] == nil && !f.shard.IsClosing(slot) {
			f.detach(slot, f.shard.Reached(slot, was), false)
		}
	})
	change()
	f.head, f.position = head, nil
	f.shard.Sets(func(set *delivery.Set) {
		f.shard.Reset(set, head)
		set.Key.(*filterSet).last = 0 // a log that has lost its end uses numbers again
	})
}

// An Opening is what a stream begins with.
type Opening struct {
	Cursor *Cursor
	Form   uint8            // of its frames
	First  []delivery.Frame // come before everything else
	ID     string           // of the event in First
	Remote string           // the client's address, for the log
	End    *End             // nil for a stream that goes on
}

// An End says when and how a stream ends.
type End struct {
	Until  time.Time
	Reason delivery.Reason
}

// setOf returns the set of the streams with the filters of a booking.
func (f *feed) setOf(b *Booking) *delivery.Set {
	set := f.sets[b.key]
	if set == nil {
		set = f.shard.NewSet(&filterSet{Booking: b}, f.head)
		f.sets[b.key] = set
		f.index.add(set, b.filters)
	}
	return set
}

// The tags of streams.
const (
	replayTag uint8 = iota
	skipTag         // of a stream whose cursor skips
)

// open begins a stream. take makes whatever carries the stream a member of its set. If take
// fails, open returns false.
func (f *feed) open(o *Opening, take func(set *delivery.Set, form, tag uint8) (slot uint32, ok bool)) bool {
	f.setIdle(false)
	f.Advance()
	c, tag := o.Cursor, replayTag
	if c.skip {
		tag = skipTag
	}
	set := f.setOf(c.booking)
	slot, ok := take(set, o.Form, tag)
	if !ok {
		if set.Len() == 0 {
			f.shard.Drop(set)
		}
		return false
	}
	f.dispatcher.logBegin(f.shard, slot, o.Remote, c.filters)
	if end := o.End; end != nil {
		f.shard.EndAt(slot, end.Until, end.Reason)
	}
	told := c.Begins()
	f.shard.Place(slot, told)
	if c.era != f.era || !c.isInWindow() {
		f.catchUp(slot, &catchUp{Cursor: c, told: told, names: c.timeline, had: told, hadID: o.ID})
	}
	f.shard.Send(slot, o.First, told)
	return true
}

// Vacated implements [delivery.Feed]: it forgets a set that has lost its last stream.
func (f *feed) Vacated(set *delivery.Set) {
	key := set.Key.(*filterSet)
	f.index.remove(set, key.filters)
	delete(f.sets, key.key)
	if len(f.sets) == 0 {
		f.setIdle(true)
	}
}

// settle attaches a stream to its set after a position, if the window reaches back to that.
// has is the last position that the client received. No matching event lies between has and
// position.
func (f *feed) settle(slot uint32, position, has uint64) bool {
	set := f.shard.SetOf(slot)
	if position < set.From() {
		v := f.dispatcher.window.Load()
		if v.Era() != f.era || position+1 < v.First() {
			return false
		}
		var frames []delivery.Frame
		for _, e := range v.From(position + 1) {
			if e.Seq > set.From() {
				break
			}
			if topics.MatchAny(set.Key.(*filterSet).filters, e.Topic) {
				frames = append(frames, e)
			}
		}
		f.shard.Prepend(set, frames, position)
	}
	f.shard.Attach(slot, position, has)
	return true
}

// Resettle implements [delivery.Feed].
func (f *feed) Resettle(slot uint32) {
	if pos := f.shard.Position(slot); !f.settle(slot, pos, pos) {
		f.detach(slot, pos, true)
	}
}

// detach has a stream catch up from the log that has received everything up to a position.
// exact is whether the stream's set counts every entry from there on.
func (f *feed) detach(slot uint32, position uint64, exact bool) {
	f.shard.Detach(slot)
	told := f.shard.Position(slot)
	booking := f.shard.SetOf(slot).Key.(*filterSet).Booking
	c := &catchUp{
		Cursor: &Cursor{
			dispatcher: f.dispatcher, booking: booking, filters: booking.filters, skip: f.shard.Tag(slot) == skipTag,
			timeline: f.timeline, generation: f.generation, era: f.era, pos: position,
		},
		told: told, names: f.timeline, had: told, hadID: f.timeline.Position(told).String(), exact: exact,
	}
	f.catchUp(slot, c)
	c.submit()
}

// catchUp lets a catchUp decide what a stream gets.
func (f *feed) catchUp(slot uint32, c *catchUp) {
	c.bind(f, slot)
	f.catchUps[slot] = c
}

// Written implements [delivery.Feed]: it goes on with a stream that has sent everything.
func (f *feed) Written(slot uint32) {
	c := f.catchUps[slot]
	if c != nil && !c.running {
		f.dispatcher.room.release(c)
	}
	switch {
	case c == nil: // it has sent its first event
		if pos := f.shard.Position(slot); !f.settle(slot, pos, pos) {
			f.detach(slot, pos, false)
		}
	case c.running:
	case c.at == ended:
		f.shard.Finish(slot, delivery.Stopping)
	case c.at == inWindow && f.returnToWindow(slot, c):
	default:
		c.submit()
	}
}

// returnToWindow attaches a stream to its set again, if its catchUp has reached the window.
func (f *feed) returnToWindow(slot uint32, c *catchUp) bool {
	f.Advance()
	if c.era != f.era || f.catchUps[slot] != c || !f.settle(slot, c.pos, c.told) {
		return false
	}
	delete(f.catchUps, slot)
	c.cancel()
	f.dispatcher.room.leave(c)
	return true
}

// found sends the stream what its catchUp has found.
func (f *feed) found(c *catchUp, found findings) {
	c.running = false
	slot := c.stream.Slot
	if !f.shard.Is(c.stream) || f.catchUps[slot] != c || f.shard.IsClosing(slot) {
		c.cancel()
		f.dispatcher.room.leave(c)
		return
	}
	if found.err != nil {
		f.dispatcher.opts.Logger.Error("hub: a stream failed", "path", f.shard.SinkOf(slot).String(), "topics", c.filters, "error", found.err)
		f.shard.Break(slot, found.err)
		return
	}
	c.at = found.at
	c.tell(found)
	if c.at == outdated && len(found.frames) == 0 {
		if f.dispatcher.window.Load().Era() != c.era {
			c.submit()
		}
		return // otherwise Advance submits it, or Dispatcher.Drain
	}
	f.shard.Send(slot, found.frames, found.told)
}

// submitOutdated has the catchUps go on that wait for the window.
func (f *feed) submitOutdated() {
	for _, c := range f.catchUps {
		if c.at == outdated && !c.running {
			c.submit()
		}
	}
}

// owed returns how many entries, up to head, were appended to the set of a stream that
// catches up since the stream was detached. ok is false if the number is unknown.
func (f *feed) owed(c *catchUp) (n, head uint64, ok bool) {
	f.Advance()
	if !c.exact || !f.shard.Is(c.stream) || f.catchUps[c.stream.Slot] != c {
		return 0, 0, false
	}
	return f.shard.Owed(c.stream.Slot), f.head, true
}

// KeepAlive implements [delivery.Feed]: it tells a stream how far the log has gone on, if it
// has.
func (f *feed) KeepAlive(slot uint32) ([]delivery.Frame, uint64) {
	f.Advance()
	pos := f.shard.Position(slot)
	if f.shard.IsDetached(slot) || f.shard.Owed(slot) > 0 || f.head <= pos {
		return keepAliveFrames, pos
	}
	if f.positionAt != f.head || f.position == nil {
		f.positionAt = f.head
		f.position = []delivery.Frame{positionNotice(f.timeline, f.head)}
	}
	return f.position, f.head
}

// keepAliveFrames are sent when the log has not gone on.
var keepAliveFrames = []delivery.Frame{&window.Notice{Chunk: window.Chunk(sse.Event{Comment: "keep-alive"})}}

// Last implements [delivery.Feed]: it tells a stream why it ends, and where it goes on.
func (f *feed) Last(slot uint32, reason delivery.Reason) delivery.Frame {
	position := f.shard.Position(slot)
	var id string
	if c := f.catchUps[slot]; c != nil {
		id = c.idOf(position)
	} else {
		if !f.shard.IsDetached(slot) && f.shard.Owed(slot) == 0 {
			position = max(position, f.head)
		}
		id = f.timeline.Position(position).String()
	}
	ev := sse.Event{Type: endEventType, Retry: f.dispatcher.jitteredRetry(), Data: window.JSON(endData{endReason(reason)}), ID: id}
	return &window.Notice{Chunk: window.Chunk(ev)}
}

// Gone implements [delivery.Feed].
func (f *feed) Gone(slot uint32, reason delivery.Reason) {
	if c := f.catchUps[slot]; c != nil {
		delete(f.catchUps, slot)
		c.cancel()
		f.dispatcher.room.leave(c)
	}
	if f.shard.SinkOf(slot) == delivery.Socket {
		f.shard.SetOf(slot).Key.(*filterSet).Release()
		f.dispatcher.opts.SocketGone() // a task's goroutine knows that itself
	}
	f.dispatcher.logEnd(f.shard, slot, reason)
}

// subscribersOf returns how many of the shard's streams get the messages of a topic.
func (f *feed) subscribersOf(topic string) (n int) {
	seen := map[*delivery.Set]bool{}
	f.index.match(topic, func(set *delivery.Set) {
		if !seen[set] {
			seen[set] = true
			n += set.Len()
		}
	})
	return n
}
