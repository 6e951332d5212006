package hub

import (
	"sync"
	"sync/atomic"
	"time"

	"example.com/tidings/internal/delivery"
	"example.com/tidings/sse"
)

// A feed knows what the streams of a shard are to get: from the window, or by a catchUp
// where that does not reach back far enough. Unless noted, its methods and fields are for
// the shard's goroutine.
type feed struct {
	hub    *Hub
	engine *engine
	shard  *delivery.Shard

	sets  map[string]*delivery.Set // by their filters' key
	index index[*delivery.Set]

	// How far the sets are: each has what its filters match, up to head.
	timeline timeline
	era      int
	head     uint64

	entry   *entry // that is matched just now
	matched func(*delivery.Set)

	catchUps map[uint32]*catchUp // of streams that read from the log, by slot

	positionAt uint64 // of position
	position   []delivery.Frame

	news atomic.Bool // there is something in arrived
	mu   sync.Mutex
	arrived
}

// arrived is what the hub has told a feed of since it last looked.
type arrived struct {
	view    *view // that was made anew, if one was
	entries []*entry
}

// A filterSet is the key of a set: the filters of its streams.
type filterSet struct {
	key     string
	filters []Filter
	last    uint64 // that was appended
}

func newFeed(e *engine, s *delivery.Shard) *feed {
	v := e.hub.view.load()
	f := &feed{
		hub: e.hub, engine: e, shard: s,
		sets:     map[string]*delivery.Set{},
		catchUps: map[uint32]*catchUp{},
		timeline: v.timeline, era: v.era(), head: v.last(),
	}
	f.matched = f.match
	return f
}

// extended tells of records. Callers hold the hub's mu.
func (f *feed) extended(entries []*entry) {
	f.mu.Lock()
	f.arrived.entries = append(f.arrived.entries, entries...)
	f.mu.Unlock()
	f.news.Store(true)
	f.shard.Wake()
}

// renewed tells of a view that was made anew. Callers hold the hub's mu.
func (f *feed) renewed(v *view) {
	f.mu.Lock()
	f.arrived = arrived{view: v}
	f.mu.Unlock()
	f.news.Store(true)
	f.shard.Wake()
}

// Advance appends to the sets what has arrived.
func (f *feed) Advance() {
	if !f.news.Swap(false) {
		return
	}
	f.mu.Lock()
	a := f.arrived
	f.arrived = arrived{}
	f.mu.Unlock()
	if a.view != nil {
		f.detachAll(a.view.last(), func() { f.timeline, f.era = a.view.timeline, a.view.era() })
	}
	for _, e := range a.entries {
		switch {
		case e.Seq <= f.head:
			continue
		case e.Seq > f.head+1:
			// Some were removed before this node saw them.
			f.detachAll(e.Seq-1, func() {})
		}
		f.entry = e
		f.index.match(e.Topic, f.matched)
		f.head = e.Seq
	}
	f.entry = nil
}

// slack is how much more than the window a set may hold of what its streams are just
// about to be handed.
const slack = 256

// match appends the entry that is matched to a set.
func (f *feed) match(set *delivery.Set) {
	key := set.Key.(*filterSet)
	if key.last == f.entry.Seq { // another one of its filters has matched
		return
	}
	key.last = f.entry.Seq
	f.shard.Append(set, f.entry)
	if set.Longer(slack) {
		if v := f.hub.view.load(); v.era() == f.era && v.first > 0 {
			f.shard.Forget(set, v.first-1)
		}
	}
}

// detachAll detaches every stream from its set, because the frames up to the new head are
// unavailable. Each stream then catches up from the log.
func (f *feed) detachAll(head uint64, change func()) {
	was := f.head
	for _, c := range f.catchUps {
		c.exact = false // the sets have not counted what was passed over
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

// An opening is what a stream begins with.
type opening struct {
	cursor *cursor
	sub    Subscription
	remote string           // for the log
	frames []delivery.Frame // that come first
}

// setOf returns the set of the streams with the given filters.
func (f *feed) setOf(filters []Filter) *delivery.Set {
	key := filterKey(filters)
	set := f.sets[key]
	if set == nil {
		set = f.shard.NewSet(&filterSet{key: key, filters: filters}, f.head)
		f.sets[key] = set
		f.index.add(set, filters)
	}
	return set
}

// open makes what carries a stream a member of its set, by take, and has the stream begin.
// It returns false if take does.
func (f *feed) open(o *opening, take func(set *delivery.Set, form, tag uint8) (slot uint32, ok bool)) bool {
	f.Advance()
	c := o.cursor
	set := f.setOf(c.filters)
	slot, ok := take(set, uint8(o.sub.Format), uint8(c.lag))
	if !ok {
		if set.Len() == 0 {
			f.shard.Drop(set)
		}
		return false
	}
	f.engine.logBegin(f.shard, slot, o.remote, o.sub.Topics)
	if end := o.sub.conclusion; end != nil {
		f.shard.EndAt(slot, end.until, end.ending)
	}
	told := c.begins()
	if c.era != f.era || !c.isInWindow() {
		f.catchUp(slot, &catchUp{cursor: c, told: told})
	}
	f.shard.Send(slot, o.frames, told)
	return true
}

// openTask makes a task a stream.
func (f *feed) openTask(t *delivery.Task, o *opening) {
	f.open(o, func(set *delivery.Set, form, tag uint8) (uint32, bool) { return f.shard.OpenTask(t, set, form, tag) })
}

// Vacated forgets a set.
func (f *feed) Vacated(set *delivery.Set) {
	key := set.Key.(*filterSet)
	f.index.remove(set, key.filters)
	delete(f.sets, key.key)
}

// settle has a stream go on from the window after a position, if that is in it. has is the
// last position that the client received. No matching event lies between has and position.
func (f *feed) settle(slot uint32, position, has uint64) bool {
	set := f.shard.SetOf(slot)
	if position < set.From() {
		v := f.hub.view.load()
		if v.era() != f.era || position+1 < v.first {
			return false
		}
		var frames []delivery.Frame
		for _, e := range v.from(position + 1) {
			if e.Seq > set.From() {
				break
			}
			if matchAny(set.Key.(*filterSet).filters, e.Topic) {
				frames = append(frames, e)
			}
		}
		f.shard.Prepend(set, frames, position)
	}
	f.shard.Attach(slot, position, has)
	return true
}

// Resettle finds the place of a stream in its set again.
func (f *feed) Resettle(slot uint32) {
	if pos := f.shard.Position(slot); !f.settle(slot, pos, pos) {
		f.detach(slot, pos, true)
	}
}

// detach has a stream that was handed everything up to a position catch up from the log.
// exact is whether its set counts what it is owed from then on.
func (f *feed) detach(slot uint32, position uint64, exact bool) {
	f.shard.Detach(slot)
	c := &catchUp{
		cursor: &cursor{
			hub: f.hub, filters: f.shard.SetOf(slot).Key.(*filterSet).filters, lag: Lag(f.shard.Tag(slot)),
			timeline: f.timeline, era: f.era, pos: position,
		},
		told: f.shard.Position(slot), exact: exact,
	}
	f.catchUp(slot, c)
	c.submit()
}

// catchUp has a catchUp say what a stream gets.
func (f *feed) catchUp(slot uint32, c *catchUp) {
	c.bind(f, slot)
	f.catchUps[slot] = c
}

// Written goes on with a stream that has nothing to send for now.
func (f *feed) Written(slot uint32) {
	c := f.catchUps[slot]
	switch {
	case c == nil: // it has begun
		if pos := f.shard.Position(slot); !f.settle(slot, pos, pos) {
			f.detach(slot, pos, false)
		}
	case c.running:
	case c.at == ended:
		f.shard.Finish(slot)
	case c.at == inWindow && f.returnToWindow(slot, c):
	default:
		c.submit()
	}
}

// returnToWindow has a stream go on from the window, if its catchUp has reached it.
func (f *feed) returnToWindow(slot uint32, c *catchUp) bool {
	f.Advance()
	if c.era != f.era || f.catchUps[slot] != c || !f.settle(slot, c.pos, c.told) {
		return false
	}
	delete(f.catchUps, slot)
	c.cancel()
	return true
}

// found takes what a catchUp has found.
func (f *feed) found(c *catchUp, found findings) {
	c.running = false
	slot := c.stream.Slot
	if !f.shard.Is(c.stream) || f.catchUps[slot] != c || f.shard.IsClosing(slot) {
		c.cancel()
		return
	}
	if found.err != nil {
		f.hub.opts.Logger.Error("hub: a stream failed", "path", pathOf(f.shard.SinkOf(slot)), "topics", c.filters, "error", found.err)
		f.shard.Break(slot, found.err)
		return
	}
	c.at, c.told = found.at, found.told
	f.shard.Send(slot, found.frames, found.told)
}

// owed returns how many records up to the head, which it returns too, were appended to the
// set of a stream that catches up since it was detached. ok is false if that is not known.
func (f *feed) owed(c *catchUp) (n, head uint64, ok bool) {
	f.Advance()
	if !c.exact || !f.shard.Is(c.stream) || f.catchUps[c.stream.Slot] != c {
		return 0, 0, false
	}
	return f.shard.Owed(c.stream.Slot), f.head, true
}

// KeepAlive tells a stream how far the log has gone on, if it has.
func (f *feed) KeepAlive(slot uint32) ([]delivery.Frame, uint64) {
	f.Advance()
	pos := f.shard.Position(slot)
	if f.shard.IsDetached(slot) || f.shard.Owed(slot) > 0 || f.head <= pos {
		return keepAliveFrames, pos
	}
	if f.positionAt != f.head || f.position == nil {
		f.positionAt = f.head
		f.position = []delivery.Frame{&eventFrame{position: f.head, chunk: chunk(positionEvent(f.timeline, f.head))}}
	}
	return f.position, f.head
}

// keepAliveFrames are sent when there is nothing to tell.
var keepAliveFrames = []delivery.Frame{&eventFrame{chunk: chunk(sse.Event{Comment: "keep-alive"})}}

// Gone gives back what a stream has taken.
func (f *feed) Gone(slot uint32, reason delivery.Reason) {
	if c := f.catchUps[slot]; c != nil {
		delete(f.catchUps, slot)
		c.cancel()
	}
	if f.shard.SinkOf(slot) == delivery.Socket {
		f.hub.subscribers.Add(-1) // a task's goroutine does that itself
	}
	f.engine.logEnd(f.shard, slot, reason)
}

// subscribersOf returns how many of the shard's streams a topic has.
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

// conclusion says when and how a stream is to end.
type conclusion struct {
	until  time.Time
	ending delivery.Ending
}
