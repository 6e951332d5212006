// Package logclock has the clock of a log: the time by which messages are stored, expire,
// and are found again.
package logclock

import (
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

	mu   sync.Mutex
	now  time.Time
	at   time.Duration // the source's elapsed time at now
	told bool
}

// New returns a clock that begins with the time of the wall clock, or with atLeast if that
// is later. The clock calls ahead, if that is not nil, each time the wall clock gets more
// than five minutes ahead.
func New(source Source, atLeast time.Time, ahead func(time.Duration)) *Clock {
	wall, at := source()
	c := &Clock{source: source, ahead: ahead, now: wall.UTC(), at: at}
	if c.now.Before(atLeast) {
		c.now = atLeast.UTC()
	}
	return c
}

// Now returns the log's time, in UTC.
func (c *Clock) Now() time.Time {
	now, _ := c.advance()
	return now
}

// Since returns the log's time that corresponds to t, which somebody has read from a wall
// clock. It is never later than t: by as much as the clock still is behind the wall clock,
// records have times that are too early.
func (c *Clock) Since(t time.Time) time.Time {
	now, wall := c.advance()
	if behind := wall.Sub(now); behind > 0 {
		return t.Add(-behind)
	}
	return t
}

func (c *Clock) advance() (now, wall time.Time) {
	c.mu.Lock()
	wall, at := c.source()
	passed := max(at-c.at, 0)
	c.now, c.at = c.now.Add(passed), at
	ahead := wall.Sub(c.now)
	if ahead > 0 {
		c.now = c.now.Add(min(ahead, passed))
	}
	tell := ahead > far && !c.told && c.ahead != nil
	c.told = ahead > far
	now = c.now
	c.mu.Unlock()
	if tell {
		c.ahead(ahead)
	}
	return now, wall
}
