package dispatch

import (
	"strings"
	"sync/atomic"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/budget"
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
	index index

	// The sets have every matching entry up to head, a number of this generation and era.
	timeline   eventlog.Timeline
	generation uint64
	era        int
	head       uint64

	queue   queue
	arrived atomic.Bool // the queue is not empty, or may not be

	hand    []*window.Entry // taken from the queue, in room
	room    [64]*window.Entry
	entry   *window.Entry // the entry after head, while some of its sets lack it, or nil
	left    []*filterSet  // those sets
	scratch []*filterSet  // scratch space of the index
	count   []*filterSet  // the same, for subscribersOf

	catchUps map[uint32]*catchUp // of the streams that are not in the window, by slot
	subjects subjects

	position   []delivery.Frame // the keep-alive that tells positionAt, or nil
	positionAt uint64

	warned time.Time // by warnDropped
}

func newFeed(d *Dispatcher, s *delivery.Shard) *feed {
	v := d.window.Load()
	return &feed{
		dispatcher: d, shard: s,
		sets:     map[string]*delivery.Set{},
		catchUps: map[uint32]*catchUp{},
		queue:    queue{mostEntries: max(queueWindows*d.opts.WindowEntries, leastQueue), mostBytes: max(d.opts.WindowBytes, leastQueueBytes), idle: true},
		timeline: v.Timeline, generation: v.Generation, era: v.Era(), head: v.Last(),
	}
}

// extended tells the feed of new entries. It is for any goroutine.
func (f *feed) extended(entries []*window.Entry) {
	wake := f.queue.add(entries)
	f.arrived.Store(true)
	if wake {
		f.shard.Wake()
	}
}

// renewed tells the feed of a view that was read from the log anew. It is for any goroutine.
func (f *feed) renewed(v *window.View) {
	f.queue.renew(v)
	f.arrived.Store(true)
	f.shard.Wake()
}

// look takes the news of the queue.
func (f *feed) look() {
	if !f.arrived.Load() {
		return
	}
	n := f.queue.news()
	if v := n.view; v != nil {
		f.detachAll(v.Last(), func() { f.timeline, f.generation, f.era = v.Timeline, v.Generation, v.Era() })
		f.dropHand()
		f.submitOutdated()
	}
	if n.dropped > 0 {
		f.warnDropped()
		f.detachAll(n.dropped, func() {})
		f.dropHand()
	}
	f.head = max(f.head, n.passed)
}

// dropHand drops the entries that were taken from the queue.
func (f *feed) dropHand() {
	f.hand, f.entry, f.left = nil, nil, nil
	clear(f.room[:])
}

// warnDropped logs, at most once a minute, that the queue has dropped entries.
func (f *feed) warnDropped() {
	if now := time.Now(); now.Sub(f.warned) > time.Minute {
		f.warned = now
		f.dispatcher.opts.Logger.Warn("hub: a shard has fallen behind the window; its streams catch up from the log")
	}
}

// turnSteps is how much work one call of Advance does, as [index.match] counts it: a hundred
// microseconds. The last topic may take more: a step for each filter that matches it.
const turnSteps = 1 << 15

// Advance implements [delivery.Feed]: it appends some of the entries that have arrived.
func (f *feed) Advance() (more bool) {
	f.look()
	for steps := 0; f.entry != nil || f.next(&steps); {
		for ; len(f.left) > 0 && steps < turnSteps; f.left = f.left[1:] {
			if set := f.left[0]; !set.gone {
				f.append(set)
				steps += appendSteps
			}
		}
		if len(f.left) > 0 {
			return true
		}
		f.head, f.entry = f.entry.Seq, nil
		if steps >= turnSteps {
			return true
		}
	}
	return false
}

// What an entry takes beside its match, and for each set that gets it, in steps.
const (
	entrySteps  = 64
	appendSteps = 32
)

// next looks for the sets that get the next entry. It returns false if there is none now.
func (f *feed) next(steps *int) bool {
	for {
		if len(f.hand) == 0 && !f.takeHand() {
			return false
		}
		e := f.hand[0]
		f.hand[0] = nil
		f.hand = f.hand[1:]
		switch {
		case e.Seq <= f.head:
			continue
		case e.Seq > f.head+1:
			// Records between were removed before this node read them.
			f.detachAll(e.Seq-1, func() {})
		}
		var n int
		if !strings.HasPrefix(e.Topic, topics.ReservedPrefix) {
			f.left, n = f.index.find(e.Topic, &f.scratch)
		}
		f.entry = e
		*steps += n + entrySteps
		return true
	}
}

// takeHand takes entries from the queue. It returns false if there are none, or if there are
// news first.
func (f *feed) takeHand() bool {
	if !f.arrived.Load() {
		return false
	}
	f.arrived.Store(false) // before it looks, so that what comes later sets it again
	var left bool
	if f.hand, left = f.queue.take(f.room[:0]); left {
		f.arrived.Store(true)
	}
	return len(f.hand) > 0
}

// append appends f.entry to a set.
func (f *feed) append(set *filterSet) {
	set.last = f.entry.Seq
	f.shard.Append(set.set, f.entry)
	f.forget(set.set)
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
	Head   []byte           // of a response on a socket; the client gets it in any case
	First  []delivery.Frame // come before everything else
	ID     string           // of the event in First
	Remote string           // the client's address, for the log
	End    *End             // nil for a stream that goes on
	Holder Holder

	// TooLate is called if OpenSocket has returned true and the stream cannot be opened. The
	// socket remains the caller's. TooLate must not block.
	TooLate func()
}

// An End says when and how a stream ends.
type End struct {
	Until  time.Time
	Reason delivery.Reason
}

// setOf returns the set of the streams with the filters of a booking.
func (f *feed) setOf(b *Booking) *delivery.Set {
	if set := f.sets[b.key]; set != nil {
		return set
	}
	from := f.head
	if f.entry != nil {
		from = f.entry.Seq // the set is not among those in f.left
	}
	fs := &filterSet{Booking: b}
	fs.set = f.shard.NewSet(fs, from)
	f.sets[b.key] = fs.set
	f.index.add(fs)
	return fs.set
}

// The tags of streams.
const (
	replayTag uint8 = iota
	skipTag         // of a stream whose cursor skips
)

// awake has the queue take entries. What has passed by then counts, also what extended has yet to
// tell: it does not wake the shard for that.
func (f *feed) awake() {
	f.queue.setIdle(false)
	f.arrived.Store(true)
	f.look()
}

// open begins a stream. take makes whatever carries the stream a member of its set. If take
// fails, open returns false.
func (f *feed) open(o *Opening, take func(set *delivery.Set, form, tag uint8) (slot uint32, ok bool)) bool {
	f.awake()
	c, tag := o.Cursor, replayTag
	if c.skip {
		tag = skipTag
	}
	nodes := f.index.nodes
	set := f.setOf(c.booking)
	f.budget().Give(int(c.reserved.Swap(0)) - (f.index.nodes - nodes))
	slot, ok := take(set, o.Form, tag)
	if !ok {
		if set.Len() == 0 {
			f.shard.Drop(set)
		}
		return false
	}
	f.dispatcher.counts.changes.Add(1)
	f.dispatcher.logBegin(f.shard, slot, o.Remote, c.filters)
	if end := o.End; end != nil {
		f.shard.EndAt(slot, end.Until, end.Reason)
	}
	told := c.Begins()
	f.shard.Place(slot, told)
	if c.era != f.era || !c.isInWindow() {
		f.catchUp(slot, &catchUp{Cursor: c, told: told, names: c.timeline, had: told, hadID: o.ID})
	}
	if o.Head != nil {
		f.shard.SendHead(slot, o.Head)
	}
	stream := f.shard.Name(slot)
	f.shard.Send(slot, o.First, told)
	if f.shard.Is(stream) { // otherwise its client has left, and the slot may have another stream
		f.hold(slot, o.Holder)
	}
	return true
}

// Vacated implements [delivery.Feed]: it forgets a set that has lost its last stream.
func (f *feed) Vacated(set *delivery.Set) {
	fs, nodes := set.Key.(*filterSet), f.index.nodes
	fs.gone = true
	f.index.remove(fs)
	f.budget().Give(nodes - f.index.nodes)
	delete(f.sets, fs.key)
	if len(f.sets) == 0 {
		f.queue.setIdle(true)
	}
}

// budget returns the budget of the nodes of all indexes.
func (f *feed) budget() *budget.Bytes { return &f.dispatcher.opts.Budgets.IndexNodes }

// Resettle implements [delivery.Feed].
func (f *feed) Resettle(slot uint32) {
	if pos := f.shard.Position(slot); !f.settle(slot, pos, pos, nil) {
		f.detach(slot, pos, true)
	}
}

// detach has a stream catch up from the log that has received everything up to a position.
// exact is whether the stream's set counts every entry from there on.
func (f *feed) detach(slot uint32, position uint64, exact bool) {
	f.shard.Detach(slot)
	told := f.shard.Position(slot)
	id := placeOf(f.timeline, told).String() // a stream of a set knows of all cuts
	booking := f.shard.SetOf(slot).Key.(*filterSet).Booking
	c := &catchUp{
		Cursor: &Cursor{
			dispatcher: f.dispatcher, booking: booking, filters: booking.filters, skip: f.shard.Tag(slot) == skipTag,
			timeline: f.timeline, generation: f.generation, era: f.era, pos: position,
			knows: f.timeline[len(f.timeline)-1].ID,
		},
		told: told, names: f.timeline, had: told, hadID: id, exact: exact,
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
		if pos := f.shard.Position(slot); !f.settle(slot, pos, pos, nil) {
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
	f.look()
	if c.era != f.era || f.catchUps[slot] != c || !f.settle(slot, c.pos, c.told, &c.placed) {
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
	f.look()
	if !c.exact || !f.shard.Is(c.stream) || f.catchUps[c.stream.Slot] != c {
		return 0, 0, false
	}
	head = f.head
	if fs := f.shard.SetOf(c.stream.Slot).Key.(*filterSet); f.entry != nil && fs.last == f.entry.Seq {
		head = f.entry.Seq
	}
	return f.shard.Owed(c.stream.Slot), head, true
}

// KeepAlive implements [delivery.Feed]: it tells a stream how far the log has gone on, if it
// has.
func (f *feed) KeepAlive(slot uint32) ([]delivery.Frame, uint64) {
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
		id = placeOf(f.timeline, position).String()
	}
	ev := sse.Event{Type: endEventType, Retry: f.dispatcher.jitteredRetry(), Data: window.JSON(endData{endReason(reason)}), ID: id}
	return &window.Notice{Chunk: window.Chunk(ev)}
}

// Gone implements [delivery.Feed].
func (f *feed) Gone(slot uint32, reason delivery.Reason) {
	f.letGo(slot)
	if c := f.catchUps[slot]; c != nil {
		delete(f.catchUps, slot)
		c.cancel()
		f.dispatcher.room.leave(c)
	}
	f.dispatcher.counts.changes.Add(1)
	if f.shard.SinkOf(slot) == delivery.Socket {
		f.shard.SetOf(slot).Key.(*filterSet).Release()
		f.dispatcher.opts.SocketGone() // a task's goroutine knows that itself
	}
	f.dispatcher.logEnd(f.shard, slot, reason)
}

// subscribersOf returns how many of the shard's streams get the messages of a topic.
func (f *feed) subscribersOf(topic string) (n int) {
	sets, _ := f.index.find(topic, &f.count)
	for _, set := range sets {
		n += set.set.Len()
	}
	return n
}
