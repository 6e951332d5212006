// Package logclock has the clock of a log: the time by which messages are stored, expire,
// and are found again.
package logclock

import (
	"slices"
	"sort"
	"sync"
	"time"
)

// far is how much the wall clock may be ahead of a [Clock] before the clock says so.
const far = 5 * time.Minute

// A Source reads the wall clock, and how much time has really passed since some moment.
type Source func() (wall time.Time, elapsed time.Duration)

// System returns the source of the machine's clocks.
func System() Source {
	start := time.Now()
	return func() (time.Time, time.Duration) {
		now := time.Now()
		return now.Round(0), now.Sub(start)
	}
}

// A Clock goes with the machine's monotonic clock, so that a step of the wall clock neither
// removes messages before their time nor keeps them beyond it. It never goes back. While the
// wall clock is ahead, the Clock follows it at twice the real speed. A wall clock that is
// behind has no effect until the Clock is made anew. Methods may be called concurrently.
type Clock struct {
	source Source
	ahead  func(time.Duration) // told when the wall clock is far ahead

	mu     sync.Mutex
	now    time.Time
	at     time.Duration // the source's elapsed time at now
	gained time.Duration // by how much the clock has outrun the source's elapsed time
	gains  []gain        // how that came about, ascending
	told   bool          // of a wall clock that is still far ahead
}

// A gain says how much a clock had gained at a moment.
type gain struct{ at, gained time.Duration }

// A clock remembers no more than mostGains gains, and none that adds less than leastGain.
const (
	mostGains = 1024
	leastGain = time.Millisecond
)

// New returns a clock that begins with the time of the wall clock, or with atLeast if that
// is later. The clock calls ahead, if that is not nil, each time the wall clock gets more
// than five minutes ahead.
func New(source Source, atLeast time.Time, ahead func(time.Duration)) *Clock {
	wall, at := source()
	c := &Clock{source: source, ahead: ahead, now: wall.UTC(), at: at, gains: []gain{{at, 0}}}
	if c.now.Before(atLeast) {
		c.now = atLeast.UTC()
	}
	return c
}

// Now returns the log's time, in UTC.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	wall, ahead := c.advance()
	now := c.now
	tell := ahead > far && !c.told && c.ahead != nil
	c.told = wall.Sub(now) > far
	c.mu.Unlock()
	if tell {
		c.ahead(ahead)
	}
	return now
}

// Since returns a time of the log that is not later than t, nor than that of any message
// which was stored at t or after it by the wall clock as it is set now. Those that were
// stored while the clock was behind the wall clock have times that are too early. Since
// disregards differences of less than a millisecond.
func (c *Clock) Since(t time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, _ := c.advance()
	// How far behind the clock was when it was t: as far as it is now, and what it has
	// gained since.
	i := len(c.gains) - 1
	if ago := wall.Sub(t); ago > 0 {
		i = sort.Search(len(c.gains), func(i int) bool { return c.gains[i].at > c.at-ago }) - 1
	}
	behind := wall.Sub(c.now) + c.gained - c.gains[max(i, 0)].gained
	if behind < leastGain {
		return t
	}
	return t.Add(-behind)
}

// advance reads the source, and advances the clock. It returns how far the wall clock was
// ahead before. Callers hold mu.
func (c *Clock) advance() (wall time.Time, ahead time.Duration) {
	wall, at := c.source()
	passed := max(at-c.at, 0)
	c.now, c.at = c.now.Add(passed), c.at+passed
	if ahead = wall.Sub(c.now); ahead > 0 {
		add := min(ahead, passed)
		c.now = c.now.Add(add)
		c.gained += add
	}
	if c.gained-c.gains[len(c.gains)-1].gained >= leastGain {
		if len(c.gains) == mostGains { // every second one is exact enough
			n := 0
			c.gains = slices.DeleteFunc(c.gains, func(gain) bool { n++; return n%2 == 0 })
		}
		c.gains = append(c.gains, gain{c.at, c.gained})
	}
	return wall, ahead
}
