package eventsource

import (
	"context"
	"io"
	"sync"
	"time"
)

const (
	// ticksPerLimit is how often the watchdog looks at the clock within its
	// limit. A timer stands still while the machine is suspended, the clock of
	// the wall does not. So a connection that has died meanwhile is noticed
	// within one tick of waking.
	ticksPerLimit = 4

	// mostGrace is how long a byte may still take when the limit is reached. When
	// a stopped process goes on, the timer fires before the bytes that wait are
	// read.
	mostGrace     = time.Second
	limitPerGrace = 8
)

// A watchdog is a reader that gives a connection up when it brings no byte. Its
// time runs only while Read is called.
type watchdog struct {
	now func() time.Time

	r      io.Reader
	giveUp context.CancelCauseFunc

	mu    sync.Mutex
	limit time.Duration // 0: none
	timer *time.Timer
	since time.Time // when the pending Read began, or zero
	grace bool      // the limit is reached, and the grace runs
}

// begin watches another connection. giveUp ends it.
func (w *watchdog) begin(r io.Reader, giveUp context.CancelCauseFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.r, w.giveUp = r, giveUp
	w.since, w.grace = time.Time{}, false
}

func (w *watchdog) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since = time.Time{}
	if w.timer != nil {
		w.timer.Stop()
	}
}

func (w *watchdog) setLimit(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit = d
}

func (w *watchdog) Read(p []byte) (int, error) {
	w.arm()
	n, err := w.r.Read(p)
	w.disarm()
	return n, err
}

func (w *watchdog) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.limit <= 0 {
		return
	}
	w.since, w.grace = w.now(), false
	w.next(w.limit / ticksPerLimit)
}

func (w *watchdog) disarm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.since.IsZero() {
		w.since = time.Time{}
		w.timer.Stop()
	}
}

// next calls tick after d.
func (w *watchdog) next(d time.Duration) {
	if w.timer == nil {
		w.timer = time.AfterFunc(d, w.tick)
	} else {
		w.timer.Reset(d)
	}
}

func (w *watchdog) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since.IsZero() {
		return // the Read has returned
	}
	silent := elapsed(w.since, w.now())
	switch {
	case silent < w.limit:
		w.next(min(w.limit/ticksPerLimit, w.limit-silent))
	case !w.grace:
		w.grace = true
		w.next(min(mostGrace, w.limit/limitPerGrace))
	default:
		w.giveUp(ErrSilent)
	}
}

// elapsed returns the time since a reading of the clock: the longer of what the
// clock of the wall says, and the monotonic one, which stands still while the
// machine is suspended. The first may be set back.
func elapsed(since, now time.Time) time.Duration {
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}
