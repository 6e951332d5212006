package window

import (
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/ringbuf"
	"example.com/tidings/sse"
)

// A View is what a window holds at one moment: the newest entries, and the names of
// positions. It never changes.
type View struct {
	ringbuf.Ring[*Entry]
	Timeline   eventlog.Timeline
	Generation uint64        // of the log that it was read from
	KeyWindow  time.Duration // as the log's state has it

	// Each view that is read from the log anew begins an era.
	eras    []era
	account *Account
}

// Bytes returns how much memory the window takes, with the forms that were encoded so far.
func (v *View) Bytes() int { return v.account.Bytes() + v.Overhead() }

// begin makes a view empty that is being made. Its next entry gets the given number.
func (v *View) begin(first uint64) {
	v.drop(v.Len())
	v.Ring = ringbuf.New[*Entry](first)
}

// drop removes the oldest n entries of a view that is being made.
func (v *View) drop(n int) {
	for _, e := range v.From(0)[:n] {
		e.Disown()
	}
	v.Ring = v.Drop(n)
}

// expire drops the entries of a view that is being made which the log no longer retains. It
// reports whether there were any.
func (v *View) expire(state eventlog.State) bool {
	if state.First <= v.First() || state.Generation != v.Generation {
		return false
	}
	v.drop(int(min(state.First-v.First(), uint64(v.Len()))))
	return true
}

// shrink drops the oldest entries of a view that is being made while it exceeds the bounds. It
// keeps the newest one. It reports whether it has dropped any.
func (v *View) shrink(maxEntries, maxBytes int) (shrunk bool) {
	v.account.most.Store(int64(maxBytes - v.Overhead()))
	for v.Len() > 1 && (v.Len() > maxEntries || v.Bytes() > maxBytes) {
		v.drop(1)
		shrunk = true
	}
	return shrunk
}

// An era begins when the window is read from the log anew.
type era struct {
	last uint64 // how far the log went
	lost bool   // the log has lost its end before, and it is not known where
}

// Era returns the number of the view's era, from 1 on.
func (v *View) Era() int { return len(v.eras) }

// Resume returns where a stream of an earlier era goes on in this view. The stream has
// received everything up to a position. If it misses something, reason says why.
func (v *View) Resume(at eventlog.Position, era int) (after uint64, reason string) {
	after, reason = v.Timeline.Resolve(at)
	for _, e := range v.eras[era:] {
		if after > e.last || e.lost {
			after, reason = min(after, e.last), sse.GapLost
		}
	}
	return after, reason
}
