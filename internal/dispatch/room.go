package dispatch

import (
	"cmp"
	"container/list"
	"slices"
	"sync"
	"time"

	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/delivery"
)

// A room bounds what all catchUps have read from the log and their clients have not taken. A
// catchUp takes room before it keeps a message. If there is none, it waits without a goroutine.
// While others wait, the room ends streams that have room and take nothing.
type room struct {
	pool   *pool
	budget *budget.Bytes

	mu      sync.Mutex
	classes [classes]class
	holders map[*catchUp]struct{}
	relief  *time.Timer // not nil while catchUps wait
	drained bool        // nobody waits any more
}

// The classes of what catchUps need, so that those which read small messages do not wait behind
// large ones.
const (
	small  = iota // up to mostTarget
	medium        // up to the share of one connection
	large         // any more: one catchUp at a time, beside the budget
	classes
)

// A class has the catchUps that need about as much.
type class struct {
	limit, used int
	waiting     list.List // of *catchUp, in the order in which they came
}

// A hold is what one catchUp has of a room. The room's mu guards the first fields.
type hold struct {
	held   int // bytes
	class  int // of held, or of need
	need   int // bytes that the catchUp waits for
	waits  *list.Element
	since  time.Time // when it got what it holds
	ending bool      // its stream is to end
	gone   bool      // its stream has ended

	// These belong to the catchUp's goroutine.
	target int // bytes that it takes at most, unless one message is larger
	spent  int // bytes of what was found
	data   int // bytes of data in that
	lacks  int // not 0 if one message has found no room
}

// A catchUp takes leastTarget to mostTarget bytes at a time, less the more of them there are.
const (
	leastTarget = 8 << 10
	mostTarget  = 256 << 10
)

// cacheShare is the part of the budget that the readCache may have.
const cacheShare = 4

func newRoom(p *pool, b *budget.Bytes) *room {
	r := &room{pool: p, budget: b, holders: map[*catchUp]struct{}{}}
	left := b.Limit() - b.Limit()/cacheShare
	r.classes[small].limit, r.classes[medium].limit = left/2, left-left/2
	r.classes[large].limit = 1 // see fits
	return r
}

// classOf returns the class of a need.
func (r *room) classOf(need int) int {
	switch {
	case need <= min(mostTarget, r.classes[small].limit):
		return small
	case need <= min(r.budget.Share(), r.classes[medium].limit):
		return medium
	}
	return large
}

// fits reports whether a class has room for a need.
func (c *class) fits(class, need int) bool {
	return c.used+need <= c.limit || class == large && c.used == 0
}

// target returns how many bytes a catchUp takes at a time.
func (r *room) target() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.classes[small]
	return max(leastTarget, min(mostTarget, s.limit/2/(1+len(r.holders)+s.waiting.Len())))
}

// grow has a catchUp hold n bytes, and reports whether there is room for them.
func (r *room) grow(c *catchUp, n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n <= c.held {
		return true
	}
	return !c.gone && r.move(c, n)
}

// move has a catchUp hold n bytes instead of what it holds, if nobody waits and there is room.
// Callers hold mu.
func (r *room) move(c *catchUp, n int) bool {
	class := r.classOf(n)
	to, had := &r.classes[class], 0
	if class == c.class {
		had = c.held
	}
	if to.waiting.Len() > 0 || !to.fits(class, n-had) && !(class == large && had > 0) {
		return false
	}
	r.set(c, class, n)
	return true
}

// set records what a catchUp holds. Callers hold mu.
func (r *room) set(c *catchUp, class, n int) {
	r.classes[c.class].used -= c.held
	r.classes[class].used += n
	r.budget.Add(n - c.held)
	c.class, c.held = class, n
	if n > 0 {
		r.holders[c], c.since = struct{}{}, time.Now()
	} else {
		delete(r.holders, c)
	}
}

// take has a catchUp hold n bytes for one message. If there is no room for them, it returns
// false. The room then submits the catchUp to the pool when there is.
func (r *room) take(c *catchUp, n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.gone || r.drained || r.move(c, n) {
		return true
	}
	r.drop(c)
	c.class = r.classOf(n)
	c.need, c.waits = n, r.classes[c.class].waiting.PushBack(c)
	r.budget.Refuse()
	if r.relief == nil {
		r.relief = time.AfterFunc(reliefInterval, r.relieve)
	}
	return false
}

// keep gives back what a catchUp holds beyond what it has found.
func (r *room) keep(c *catchUp) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.held > c.spent {
		r.set(c, c.class, c.spent)
		r.admit()
	}
}

// release gives back what a catchUp holds, because its client has taken it.
func (r *room) release(c *catchUp) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(c)
}

// leave gives back what a catchUp holds, which then takes nothing any more.
func (r *room) leave(c *catchUp) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.gone = true
	if c.waits != nil {
		r.classes[c.class].waiting.Remove(c.waits)
		c.waits = nil
	}
	r.drop(c)
}

// drop gives back what a catchUp holds. Callers hold mu.
func (r *room) drop(c *catchUp) {
	if c.held > 0 {
		r.set(c, c.class, 0)
		r.admit()
	}
}

// admit gives room to those that wait for it. Callers hold mu.
func (r *room) admit() {
	for class := range r.classes {
		for w := &r.classes[class]; ; {
			first := w.waiting.Front()
			if first == nil {
				break
			}
			c := first.Value.(*catchUp)
			if !r.drained && !w.fits(class, c.need) {
				break
			}
			w.waiting.Remove(first)
			c.waits = nil
			if !r.drained {
				r.set(c, class, c.need)
			}
			r.pool.submit(c)
		}
	}
}

// drain has nobody wait any more.
func (r *room) drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drained = true
	r.admit()
}

// close ends the room's timer, when there are no catchUps left.
func (r *room) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.relief != nil {
		r.relief.Stop()
	}
}

const (
	reliefInterval = 250 * time.Millisecond

	// silence is how long a stream with room may take nothing while others wait for it.
	silence = 2 * time.Second

	// longestHold is how long a stream may take for what it has room for, while others wait
	// and no other stream takes less.
	longestHold = 30 * time.Second
)

// relieve looks for streams that have room and take nothing, while others wait.
func (r *room) relieve() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.admit()
	waiting := false
	for i := range r.classes {
		waiting = waiting || r.classes[i].waiting.Len() > 0
	}
	if !waiting {
		r.relief = nil
		return
	}
	r.relief = time.AfterFunc(reliefInterval, r.relieve)
	of := map[*feed][]*catchUp{}
	for c := range r.holders {
		if r.classes[c.class].waiting.Len() > 0 {
			of[c.feed] = append(of[c.feed], c)
		}
	}
	for f, holders := range of {
		f.shard.Do(func() { r.endSilent(f, holders) })
	}
}

// A silent is a stream that has room and takes nothing.
type silent struct {
	c     *catchUp
	quiet time.Duration
}

// endSilent ends those of a feed's streams that have room and have taken nothing for longest,
// as far as that makes room for those that wait. It is called on the shard's goroutine.
func (r *room) endSilent(f *feed, holders []*catchUp) {
	var all []silent
	for _, c := range holders {
		if slot := c.stream.Slot; f.shard.Is(c.stream) && f.catchUps[slot] == c && !f.shard.IsClosing(slot) {
			all = append(all, silent{c, f.shard.Silent(slot)})
		}
	}
	slices.SortFunc(all, func(a, b silent) int { return cmp.Compare(b.quiet, a.quiet) })
	for _, c := range r.chosen(all) {
		f.shard.Conclude(c.stream.Slot, delivery.Slow)
	}
}

// chosen returns the streams that are to end.
func (r *room) chosen(all []silent) (chosen []*catchUp) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var needs [classes]int
	for i := range r.classes {
		for e := r.classes[i].waiting.Front(); e != nil; e = e.Next() {
			needs[i] += e.Value.(*catchUp).need
		}
	}
	for c := range r.holders {
		if c.ending {
			needs[c.class] -= c.held
		}
	}
	for _, s := range all {
		c := s.c
		takesLittle := len(chosen) == 0 && c.held > 0 && time.Since(c.since) > longestHold
		if needs[c.class] > 0 && c.held > 0 && !c.ending && (s.quiet >= silence || takesLittle) {
			needs[c.class] -= c.held
			c.ending = true
			chosen = append(chosen, c)
		}
	}
	return chosen
}
