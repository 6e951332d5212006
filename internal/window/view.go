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
	eras []era
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
