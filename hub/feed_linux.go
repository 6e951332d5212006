package hub

import (
	"context"
	"sync"
	"sync/atomic"

	"example.com/tidings/internal/fanout"
)

// A feed has what the streams of a shard get: from the window, or by a cursor where
// that is not enough. What is not said to be for any goroutine is for the shard's.
type feed struct {
	hub   *Hub
	fan   *fan
	shard *fanout.Shard

	sets  map[string]*fanout.Set // by their filters' key
	index index[*fanout.Set]

	// How far the sets are: each has what its filters match, up to head.
	timeline timeline
	era      int
	head     uint64

	entry   *entry // that is matched just now
	matched func(*fanout.Set)

	away map[uint32]*errand // streams that catch up, by slot

	positionAt uint64 // of positionFrame
	position   [][]byte

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

func newFeed(fan *fan, s *fanout.Shard) *feed {
	v := fan.hub.view.load()
	f := &feed{
		hub: fan.hub, fan: fan, shard: s,
		sets:     map[string]*fanout.Set{},
		away:     map[uint32]*errand{},
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
		f.moveOn(a.view.last(), func() { f.timeline, f.era = a.view.timeline, a.view.era() })
	}
	for _, e := range a.entries {
		switch {
		case e.Seq <= f.head:
			continue
		case e.Seq > f.head+1:
			// Some were removed before this node saw them.
			f.moveOn(e.Seq-1, func() {})
		}
		f.entry = e
		f.index.match(e.Topic, f.matched)
		f.head = e.Seq
	}
	f.entry = nil
}

// slack is how much more than the window a set may hold of what its streams are just
// about to be written.
const slack = 256

// match appends the entry that is matched to a set.
func (f *feed) match(set *fanout.Set) {
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

// moveOn has everyone leave the sets, whose frames up to the new head cannot be had.
func (f *feed) moveOn(head uint64, change func()) {
	was := f.head
	f.shard.Streams(func(slot uint32) {
		if f.away[slot] == nil && !f.shard.IsClosing(slot) {
			f.leave(slot, f.shard.Reached(slot, was), false)
		}
	})
	change()
	f.head, f.position = head, nil
	f.shard.Sets(func(set *fanout.Set) {
		f.shard.Reset(set, head)
		set.Key.(*filterSet).last = 0 // a log that has lost its end uses numbers again
	})
}

// setOf returns the set of the streams with the given filters.
func (f *feed) setOf(filters []Filter) *fanout.Set {
	key := filterKey(filters)
	set := f.sets[key]
	if set == nil {
		set = f.shard.NewSet(&filterSet{key: key, filters: filters}, f.head)
		f.sets[key] = set
		f.index.add(set, filters)
	}
	return set
}

// Vacated forgets a set.
func (f *feed) Vacated(set *fanout.Set) {
	key := set.Key.(*filterSet)
	f.index.remove(set, key.filters)
	delete(f.sets, key.key)
}

// settle has a stream go on from the window after a position, if that is in it. The
// client has the events up to the position has, which may be less, with nothing for it
// between them.
func (f *feed) settle(slot uint32, position, has uint64) bool {
	set := f.shard.SetOf(slot)
	if position < set.From() {
		v := f.hub.view.load()
		if v.era() != f.era || position+1 < v.first {
			return false
		}
		var frames []fanout.Frame
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
	f.shard.Place(slot, position, has)
	return true
}

// Resettle finds the place of a stream in its set again.
func (f *feed) Resettle(slot uint32) {
	if pos := f.shard.Position(slot); !f.settle(slot, pos, pos) {
		f.leave(slot, pos, true)
	}
}

// leave has a cursor catch up for a stream that has got everything up to a position.
// exact is whether the set knows how many it is owed since.
func (f *feed) leave(slot uint32, position uint64, exact bool) {
	c := &cursor{
		hub: f.hub, filters: f.shard.SetOf(slot).Key.(*filterSet).filters, lag: Lag(f.shard.Tag(slot)),
		timeline: f.timeline, era: f.era, pos: position, wake: make(chan struct{}, 1),
	}
	owed := f.shard.Owed(slot)
	f.shard.Leave(slot)
	f.send(slot, &errand{c: c, told: f.shard.Position(slot)})
	if exact {
		c.joinBehind(owed, f.head)
	}
	f.submit(f.away[slot])
}

// joinBehind has a cursor count what matches, that is owed so many up to head.
func (c *cursor) joinBehind(owed, head uint64) {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if v := c.hub.view.load(); v.era() == c.era && head+1 >= v.first {
		c.joined.Store(true)
		c.ahead, c.handed, c.matched = owed+c.matches(v, head), 0, 0
		c.counted = max(head, v.last())
	}
}

// send has a cursor say what a stream gets.
func (f *feed) send(slot uint32, e *errand) {
	e.feed, e.stream, e.format = f, f.shard.Name(slot), Format(f.shard.Form(slot))
	e.ctx, e.cancel = context.WithCancel(f.hub.ctx)
	e.c.away = true
	f.hub.enter(e.c)
	f.away[slot] = e
}

// submit has a cursor look for what comes next.
func (f *feed) submit(e *errand) {
	e.running = true
	f.fan.pool.submit(e)
}

// Written goes on with a stream that has nothing to send for now.
func (f *feed) Written(slot uint32) {
	e := f.away[slot]
	switch {
	case e == nil: // it has begun
		if pos := f.shard.Position(slot); !f.settle(slot, pos, pos) {
			f.leave(slot, pos, false)
		}
	case e.running:
	case e.at == ended:
		f.shard.Finish(slot)
	case e.at == inWindow && f.cameBack(slot, e):
	default:
		f.submit(e)
	}
}

// cameBack has a stream go on from the window, if its cursor is there.
func (f *feed) cameBack(slot uint32, e *errand) bool {
	f.Advance()
	if e.c.era != f.era || f.away[slot] != e || !f.settle(slot, e.c.pos, e.told) {
		return false
	}
	delete(f.away, slot)
	e.end()
	return true
}

// returned takes what a cursor has found.
func (f *feed) returned(e *errand, found findings) {
	e.running = false
	if !f.shard.Is(e.stream) || f.away[e.stream.Slot] != e {
		e.end()
		return
	}
	slot := e.stream.Slot
	if found.err != nil {
		f.hub.opts.Logger.Error("hub: a stream failed", "path", PathTakenOver, "topics", e.c.filters, "error", found.err)
		f.shard.Break(slot)
		return
	}
	e.at, e.told = found.at, found.told
	f.shard.Send(slot, found.pieces, found.told)
}

// KeepAlive tells a stream how far the log has gone on, if it has.
func (f *feed) KeepAlive(slot uint32) ([][]byte, uint64) {
	f.Advance()
	pos := f.shard.Position(slot)
	if f.shard.IsAway(slot) || f.shard.Owed(slot) > 0 || f.head <= pos {
		return keepAliveFrame, pos
	}
	if f.positionAt != f.head || f.position == nil {
		f.positionAt, f.position = f.head, [][]byte{chunk(positionEvent(f.timeline, f.head))}
	}
	return f.position, f.head
}

var keepAliveFrame = [][]byte{chunk(keepAlive)}

// Gone gives back what a stream has taken.
func (f *feed) Gone(slot uint32, reason fanout.Reason) {
	if e := f.away[slot]; e != nil {
		delete(f.away, slot)
		e.cancel()
		if !e.running {
			e.end()
		}
	}
	h := f.hub
	h.mu.Lock()
	h.subscribers--
	h.mu.Unlock()
	f.fan.logEnd(f.shard, slot, reason)
}

// subscribersOf returns how many of the shard's streams a topic has.
func (f *feed) subscribersOf(topic string) (n int) {
	seen := map[*fanout.Set]bool{}
	f.index.match(topic, func(set *fanout.Set) {
		if !seen[set] {
			seen[set] = true
			n += set.Len()
		}
	})
	return n
}
