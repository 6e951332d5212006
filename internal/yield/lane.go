package yield

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// holding is how long a Work has its place at least, if it does not give it back: it may wait for something
// that it does not tell.
const holding = time.Millisecond

// A Lane has a few places for goroutines that have much to do. The others wait outside of Go's queues,
// where a message would have to wait behind all of them. Its methods may be called concurrently.
type Lane struct {
	places int

	mu      sync.Mutex
	next    uint64   // place; none is 0
	held    []uint64 // the oldest first
	waiting []waiter // the longest first
	timer   bool     // expire will be called
	old     uint64   // the places before it are older than holding
}

// A waiter gets a place.
type waiter chan uint64

// Half returns half of the processors that Go has, and at least one. Those who do long work may have so
// many at a time, and the messages find the others.
func Half() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// NewLane returns a lane with so many places.
func NewLane(places int) *Lane { return &Lane{places: places, next: 1} }

// process is the lane of the process, or nil.
var process atomic.Pointer[Lane]

// Share has the whole process share one lane with [Half] places. A server calls it when it starts. Later
// calls do nothing.
func Share() { process.CompareAndSwap(nil, NewLane(Half())) }

// Shared returns the lane of the process, or else a new one with as many places.
func Shared() *Lane { return cmp.Or(process.Load(), NewLane(Half())) }

// Used returns how many places are taken, Limit how many there are.
func (l *Lane) Used() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held)
}
func (l *Lane) Limit() int { return l.places }

// enter waits for a place, and returns it.
func (l *Lane) enter() uint64 {
	l.mu.Lock()
	if len(l.held) < l.places && len(l.waiting) == 0 {
		defer l.mu.Unlock()
		return l.take()
	}
	w := make(waiter, 1)
	l.waiting = append(l.waiting, w)
	l.expireLater()
	l.mu.Unlock()
	return <-w
}

// take takes a place. The caller has l.mu.
func (l *Lane) take() uint64 {
	place := l.next
	l.next++
	l.held = append(l.held, place)
	return place
}

// leave gives a place back, unless it was taken away.
func (l *Lane) leave(place uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.held, place); i >= 0 {
		l.held = slices.Delete(l.held, i, i+1)
		l.admit()
	}
}

// admit gives free places to those who wait. The caller has l.mu.
func (l *Lane) admit() {
	for len(l.held) < l.places && len(l.waiting) > 0 {
		l.waiting[0] <- l.take()
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
	}
}

// expireLater has old places taken away after a while. The caller has l.mu.
func (l *Lane) expireLater() {
	if !l.timer && len(l.waiting) > 0 {
		l.timer, l.old = true, l.next
		time.AfterFunc(holding, l.expire)
	}
}

func (l *Lane) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = false
	l.held = slices.DeleteFunc(l.held, func(place uint64) bool { return place < l.old })
	l.admit()
	l.expireLater()
}
