package fanout

import (
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Shard writes to a part of the streams. What is not said to be for any goroutine
// is for its own: for the feed's methods, and for what [Shard.Do] is given.
type Shard struct {
	opts Options
	feed Feed

	slots    []slot
	free     []uint32
	sets     []*Set // by id
	freeSets []uint32
	dirty    queue[*Set]         // sets with streams that may be owed something
	walked   *Set                // that is gone through just now
	behind   queue[Stream]       // streams that are owed much
	rare     map[uint32]*unusual // by slot
	mostRare int                 // entries that there were in it
	batch    batch
	draining bool
	ending   bool

	epfd   int
	events [64]unix.EpollEvent
	info   unix.TCPInfo

	ticker  *time.Ticker
	tick    time.Duration
	inquiry uint16    // ticks from one question about a stream to the next
	clock   uint16    // ticks, modulo 65,536
	time    time.Time // of the last tick
	due     int       // the slot from which on streams are to be looked at for their time; len(slots) when all are done

	now    Stats
	places atomic.Int64 // see Group.Take

	// For any goroutine.
	pending atomic.Bool
	wakeC   chan struct{}
	ep      *os.File
	done    chan struct{} // closed when the goroutine has ended
	watched chan struct{} // closed when nobody waits for epoll any more
	empty   chan struct{} // closed by drained
	drained func()        // that it has; again does nothing

	mu     sync.Mutex
	inbox  []func()
	closed bool

	todo []func() // taken from the inbox
}

func newShard(opts Options) (*Shard, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("fanout: epoll: %w", err)
	}
	// Go's poller watches it if it does not block.
	if err := unix.SetNonblock(epfd, true); err != nil {
		unix.Close(epfd)
		return nil, fmt.Errorf("fanout: epoll: %w", err)
	}
	s := &Shard{
		opts:    opts,
		rare:    map[uint32]*unusual{},
		epfd:    epfd,
		ep:      os.NewFile(uintptr(epfd), "epoll"),
		wakeC:   make(chan struct{}, 1),
		done:    make(chan struct{}),
		watched: make(chan struct{}),
		empty:   make(chan struct{}),
		time:    time.Now(),
	}
	s.drained = sync.OnceFunc(func() { close(s.empty) })
	raw, err := s.ep.SyscallConn()
	if err != nil {
		s.ep.Close()
		return nil, fmt.Errorf("fanout: epoll: %w", err)
	}
	if opts.WriteTimeout <= 0 {
		s.opts.WriteTimeout = math.MaxInt64
	}
	s.tick = 500 * time.Millisecond
	for _, limit := range []time.Duration{opts.KeepAlive / 32, s.opts.WriteTimeout / 16, linger / 3} {
		if limit > 0 {
			s.tick = max(min(s.tick, limit), 5*time.Millisecond)
		}
	}
	s.inquiry = uint16(max(1, min(s.opts.WriteTimeout/inquiries/s.tick, 1<<15)))
	s.feed = opts.Feed(s)
	s.ticker = time.NewTicker(s.tick)
	go s.watch(raw)
	go s.run()
	return s, nil
}

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

// watch wakes the shard when epoll has events. The function never says that it is
// done, so that Go's poller forgets no edge between two calls.
func (s *Shard) watch(raw syscall.RawConn) {
	defer close(s.watched)
	raw.Read(func(uintptr) bool {
		s.Wake()
		return false
	})
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
	// Who comes late in a walk gets what has come meanwhile in the same write.
	s.feed.Advance()
	s.walk()
	s.hurry()
	s.beat()
	if s.draining && s.now.Streams == 0 {
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

// poll takes what epoll has to tell.
func (s *Shard) poll() (more bool) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(s.epfd),
		uintptr(unsafe.Pointer(&s.events[0])), uintptr(len(s.events)), 0, 0, 0)
	if errno != 0 {
		return errno == unix.EINTR
	}
	for _, ev := range s.events[:n] {
		s.happened(Stream{uint32(ev.Fd), uint32(ev.Pad)}, ev.Events)
	}
	return int(n) == len(s.events)
}

// happened takes note of what has happened to a stream's socket.
func (s *Shard) happened(st Stream, events uint32) {
	if !s.Is(st) {
		return
	}
	switch {
	case events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0:
		s.end(st.Slot, s.leaving(st.Slot))
		return
	case events&unix.EPOLLIN != 0 && !s.discard(st.Slot):
		return
	}
	if events&unix.EPOLLOUT != 0 && s.slots[st.Slot].stalled {
		s.serve(st.Slot)
	}
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
			s.end(uint32(i), Cut)
		}
	}
	s.drained()
}
