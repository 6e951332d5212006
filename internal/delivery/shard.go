package delivery

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A Shard serves a part of the streams. Unless noted, its methods must be called on the
// shard's goroutine, see the package comment.
type Shard struct {
	opts Options
	feed Feed

	slots             []slot
	free              []uint32
	sets              []*Set // by id
	freeSets          []uint32
	sweeps            queue[*Set]              // sets that wait for a sweep or its next piece
	laggingSockets    queue[Stream]            // lagging streams on sockets
	pendingWrites     map[uint32]*pendingWrite // by slot
	mostPendingWrites int                      // the most entries that the map has had
	out               outgoing
	ends              schedule // of streams with a known end
	toDrain           bool     // drain was called
	draining          bool     // each stream ends once it has all its frames
	closing           bool

	tasks        []*Task // by slot.handle
	freeTasks    []int32
	pendingTasks queue[Stream] // streams of tasks that have frames in a pendingWrite
	laggingTasks queue[Stream] // streams of tasks that lack frames of their set
	prepared     []*Task       // tasks with new work that are not queued for the baton yet
	finished     []Stream      // streams whose tasks have finished their work
	baton        baton

	ticker            *time.Ticker
	tick              time.Duration
	peerCheckTicks    uint16    // ticks between two checks of a peer
	writeTimeoutTicks uint16    // the write timeout in ticks; 0 means forever
	clock             uint16    // ticks, modulo 65,536
	tickTime          time.Time // of the last tick
	scanFrom          int       // next slot of keepAlivePass; len(slots) after the last one

	stats    Stats
	reserved atomic.Int64 // descriptors that Group.Take has reserved

	sockets sockets

	// Any goroutine may use these.
	woken   atomic.Bool   // a wake-up is pending
	ending  atomic.Bool   // close was called
	wakeC   chan struct{} // has capacity 1
	done    chan struct{} // closed when the shard's goroutine has ended
	empty   chan struct{} // closed by drained
	drained func()        // closes empty; further calls do nothing

	mu     sync.Mutex
	inbox  []func()
	closed bool

	todo []func() // functions taken from the inbox
}

func newShard(opts Options) (*Shard, error) {
	s := &Shard{
		opts:          opts,
		pendingWrites: map[uint32]*pendingWrite{},
		wakeC:         make(chan struct{}, 1),
		done:          make(chan struct{}),
		empty:         make(chan struct{}),
		tickTime:      time.Now(),
	}
	if opts.Pinned == nil {
		s.opts.Pinned = unlimited{}
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
		s.writeTimeoutTicks = uint16(ticks + 1) // the first tick is not a whole one
	}
	s.peerCheckTicks = uint16(max(1, min(s.opts.WriteTimeout/peerChecks/s.tick, maxTicks)))
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

// maxTicks is the longest time that the clock can measure, in ticks: some hours.
const maxTicks = 1 << 15

// Feed returns the shard's feed. Any goroutine may call it.
func (s *Shard) Feed() Feed { return s.feed }

// Wake makes the shard look for new work. Any goroutine may call it.
func (s *Shard) Wake() {
	if !s.woken.Swap(true) {
		select {
		case s.wakeC <- struct{}{}:
		default:
		}
	}
}

// Do makes the shard's goroutine call f soon. If the shard is closed, Do returns false and
// never calls f. Any goroutine may call Do.
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
	for !s.ending.Load() {
		select {
		case <-s.wakeC:
			s.woken.Store(false) // before the turn, so that later work wakes the shard again
		case <-s.ticker.C:
			s.onTick()
		}
		for s.turn() {
			select {
			case <-s.ticker.C:
				s.onTick()
			default:
			}
			runtime.Gosched() // messages come through other goroutines
		}
	}
}

// The most of each kind of work in one turn. Each takes some hundred microseconds.
const (
	turnTodo       = 8       // functions
	turnSweep      = 256     // streams
	turnBytes      = 1 << 20 // to streams of sets
	turnLaggards   = 4       // streams
	turnKeepAlives = 64      // keep-alives and checks of peers
)

// turn does some of the pending work. It reports whether more may be left.
func (s *Shard) turn() bool {
	more := s.takeInbox()
	more = s.poll() || more
	s.takeFinished()
	// A stream late in a sweep also gets, in one write, the frames that arrived meanwhile.
	behind := s.feed.Advance()
	if s.toDrain && !behind {
		s.startDraining()
	}
	s.sweep()
	s.serveLaggards()
	s.keepAlivePass()
	s.prepareTasks()
	if s.pinsTooMuch() {
		s.relievePins()
	}
	if s.draining && s.stats.Open[Socket]+s.stats.Open[Writer] == 0 {
		s.drained()
	}
	more = more || behind || s.sweeps.len() > 0 || s.laggingSockets.len() > 0 || s.scanFrom < len(s.slots)
	return more && !s.ending.Load()
}

// takeInbox calls some functions of the inbox. It reports whether there were any.
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

// drain makes each stream end once it has all its frames, including those that the feed has
// not appended yet.
func (s *Shard) drain() { s.toDrain = true }

// startDraining is called after drain, when the feed has appended everything.
func (s *Shard) startDraining() {
	s.toDrain, s.draining = false, true
	s.Sets(s.markDirty)
}

// close ends the shard's goroutine after its current turn. Do then refuses further functions.
// Any goroutine may call close.
func (s *Shard) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.ending.Store(true)
	s.Wake()
}

// cutAll calls the functions that are left in the inbox, which open no streams any more, and
// then ends all streams.
func (s *Shard) cutAll() {
	s.closing = true
	for s.takeInbox() {
	}
	for i := range s.slots {
		if s.slots[i].state != vacant {
			s.end(uint32(i), Cut, nil)
		}
	}
	s.drained()
}
