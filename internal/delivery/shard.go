package delivery

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// A Shard serves a part of the streams. Unless noted, its methods are for its own
// goroutine, see the package comment.
type Shard struct {
	opts Options
	feed Feed

	slots    []slot
	free     []uint32
	sets     []*Set // by id
	freeSets []uint32
	dirty    queue[*Set]         // sets with streams that may be owed something
	walked   *Set                // that is gone through just now
	behind   queue[Stream]       // sockets that are owed much
	rare     map[uint32]*unusual // by slot
	mostRare int                 // entries that there were in it
	batch    batch
	ends     schedule // of streams whose end is known before
	draining bool
	ending   bool

	tasks     []*Task // by slot.handle
	freeTasks []int32
	urgent    queue[Stream] // streams of tasks that have something of their own to be handed
	owing     queue[Stream] // streams of tasks that are owed frames of their set
	ready     []*Task       // that were just prepared
	finished  []Stream      // whose tasks' work was just found to be done
	baton     baton

	ticker  *time.Ticker
	tick    time.Duration
	inquiry uint16    // ticks from one question about a socket to the next
	patient uint16    // ticks of the write timeout; 0 means for ever
	clock   uint16    // ticks, modulo 65,536
	time    time.Time // of the last tick
	due     int       // the slot from which on streams are to be looked at for their time; len(slots) when all are done

	now    Stats
	places atomic.Int64 // see Group.Take

	sockets sockets

	// For any goroutine.
	pending atomic.Bool
	wakeC   chan struct{}
	done    chan struct{} // closed when the goroutine has ended
	empty   chan struct{} // closed by drained
	drained func()        // that it has; again does nothing

	mu     sync.Mutex
	inbox  []func()
	closed bool

	todo []func() // taken from the inbox
}

func newShard(opts Options) (*Shard, error) {
	s := &Shard{
		opts:  opts,
		rare:  map[uint32]*unusual{},
		wakeC: make(chan struct{}, 1),
		done:  make(chan struct{}),
		empty: make(chan struct{}),
		time:  time.Now(),
	}
	s.drained = sync.OnceFunc(func() { close(s.empty) })
	if opts.WriteTimeout <= 0 {
		s.opts.WriteTimeout = math.MaxInt64
	}
	s.tick = 500 * time.Millisecond
	for _, limit := range []time.Duration{opts.KeepAlive / 32, s.opts.WriteTimeout / 16, linger / 3} {
		if limit > 0 {
			s.tick = max(min(s.tick, limit), 5*time.Millisecond)
		}
	}
	if ticks := s.opts.WriteTimeout / s.tick; ticks < maxTicks {
		s.patient = uint16(ticks + 1) // the first of them is not a whole one
	}
	s.inquiry = uint16(max(1, min(s.opts.WriteTimeout/inquiries/s.tick, maxTicks)))
	if opts.Sockets {
		if err := s.openSockets(); err != nil {
			return nil, err
		}
	}
	s.feed = opts.Feed(s)
	s.ticker = time.NewTicker(s.tick)
	go s.run()
	return s, nil
}

// maxTicks is the longest time that the clock of ticks can measure: some hours.
const maxTicks = 1 << 15

// Feed returns the shard's feed. It is for any goroutine.
func (s *Shard) Feed() Feed { return s.feed }

// Wake has the shard look for what is new. It is for any goroutine.
func (s *Shard) Wake() {
	if !s.pending.Swap(true) {
		select {
		case s.wakeC <- struct{}{}:
		default:
		}
	}
}

// Do has the shard's goroutine call f, soon. It returns false, and f is never called,
// if the shard is closed. It is for any goroutine.
func (s *Shard) Do(f func()) bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.inbox = append(s.inbox, f)
	s.mu.Unlock()
	s.Wake()
	return true
}

func (s *Shard) run() {
	defer close(s.done)
	defer s.ticker.Stop()
	defer s.cutAll()
	for !s.ending {
		select {
		case <-s.wakeC:
			s.pending.Store(false) // before looking: what comes later wakes it again
		case <-s.ticker.C:
			s.ticked()
		}
		for s.turn() {
			select {
			case <-s.ticker.C:
				s.ticked()
			default:
			}
		}
	}
}

// How much of each kind of work is done before the next has its turn: some hundred
// microseconds.
const (
	turnTodo   = 8
	turnWalk   = 256
	turnBehind = 4
	turnBeats  = 64
)

// turn does some of the work that there is, and reports whether there may be more.
func (s *Shard) turn() bool {
	more := s.takeInbox()
	more = s.poll() || more
	s.takeFinished()
	// Who comes late in a walk gets what has come meanwhile in the same write.
	s.feed.Advance()
	s.walk()
	s.serveBehind()
	s.beat()
	s.hand()
	if s.draining && s.now.Open[Socket]+s.now.Open[Writer] == 0 {
		s.drained()
	}
	return !s.ending && (more || s.walked != nil || s.dirty.len() > 0 || s.behind.len() > 0 || s.due < len(s.slots))
}

// takeInbox does some of what was asked for.
func (s *Shard) takeInbox() (more bool) {
	if len(s.todo) == 0 {
		s.mu.Lock()
		s.todo, s.inbox = s.inbox, nil
		s.mu.Unlock()
	}
	n := min(len(s.todo), turnTodo)
	for i, f := range s.todo[:n] {
		s.todo[i] = nil
		f()
	}
	s.todo = s.todo[n:]
	return n > 0
}

// drain has streams end when they have what they are owed.
func (s *Shard) drain() {
	s.draining = true
	s.Sets(s.mark)
}

// close is the last thing that the shard is asked to do.
func (s *Shard) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.ending = true, true
}

// cutAll ends all streams, and those that are still in the inbox.
func (s *Shard) cutAll() {
	for s.takeInbox() {
	}
	for i := range s.slots {
		if s.slots[i].state != vacant {
			s.end(uint32(i), Cut, nil)
		}
	}
	s.drained()
}
