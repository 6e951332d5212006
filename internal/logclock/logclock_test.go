package logclock_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/logclock"
)

// epoch is when the tests begin, by a wall clock that is right.
var epoch = time.Date(2026, 3, 29, 0, 59, 0, 0, time.UTC)

// A machine has clocks that a test sets.
type machine struct {
	mu      sync.Mutex
	real    time.Duration // how long the test has lasted
	elapsed time.Duration // the monotonic clock: it stands still while the machine is suspended
	off     time.Duration // how wrong the wall clock is
}

func (m *machine) source() (time.Time, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return epoch.Add(m.real + m.off), m.elapsed
}

// A do is something that happens to a machine.
type do func(m *machine)

func pass(d time.Duration) do    { return func(m *machine) { m.real += d; m.elapsed += d } }
func suspend(d time.Duration) do { return func(m *machine) { m.real += d } }
func step(d time.Duration) do    { return func(m *machine) { m.off += d } }

const (
	hour = time.Hour
	year = 365 * 24 * time.Hour
)

func TestClock(t *testing.T) {
	type row struct {
		do   do
		want time.Duration // the log's time, counted from epoch
		told []time.Duration
	}
	for _, test := range []struct {
		name    string
		rule    string
		atLeast time.Duration
		rows    []row
	}{
		{"right", "the log's time is that of a wall clock that is right", -hour, []row{
			{do: pass(0), want: 0}, {do: pass(time.Second), want: time.Second}, {do: pass(30 * hour), want: 30*hour + time.Second},
		}},
		{"a little ahead", "a wall clock that is ahead is followed at twice the real speed, until it is reached", -hour, []row{
			{do: step(5 * time.Minute), want: 0},
			{do: pass(time.Minute), want: 2 * time.Minute},
			{do: pass(3 * time.Minute), want: 8 * time.Minute},
			{do: pass(time.Minute), want: 10 * time.Minute},
			{do: pass(time.Minute), want: 11 * time.Minute},
		}},
		{"far ahead", "a wall clock that is more than five minutes ahead is told of, once", -hour, []row{
			{do: step(hour), want: 0, told: []time.Duration{hour}},
			{do: pass(time.Minute), want: 2 * time.Minute},
			{do: pass(29 * time.Minute), want: hour},
			{do: pass(30 * time.Minute), want: 2 * hour},
			{do: pass(hour), want: 3 * hour},
		}},
		{"far ahead again", "the next time is told, too", -hour, []row{
			{do: step(10 * time.Minute), want: 0, told: []time.Duration{10 * time.Minute}},
			{do: pass(time.Minute), want: 2 * time.Minute},
			{do: step(10 * time.Minute), want: 2 * time.Minute}, // still ahead
			{do: pass(hour), want: hour + 21*time.Minute},
			{do: step(6 * time.Minute), want: hour + 21*time.Minute, told: []time.Duration{6 * time.Minute}},
		}},
		{"a year ahead and back", "a step ahead and back leaves what the log has gained meanwhile", -hour, []row{
			{do: step(year), want: 0, told: []time.Duration{year}},
			{do: pass(time.Minute), want: 2 * time.Minute},
			{do: step(-year), want: 2 * time.Minute},
			{do: pass(time.Minute), want: 3 * time.Minute},
			{do: step(year), want: 3 * time.Minute, told: []time.Duration{year - time.Minute}},
		}},
		{"back", "a wall clock that is behind has no effect", -hour, []row{
			{do: pass(hour), want: hour},
			{do: step(-year), want: hour},
			{do: pass(hour), want: 2 * hour},
			{do: step(year), want: 2 * hour}, // right again
			{do: pass(hour), want: 3 * hour},
		}},
		{"back and beyond", "only what the wall clock is ahead counts, not how far it has stepped", -hour, []row{
			{do: step(-hour), want: 0},
			{do: step(hour + time.Minute), want: 0},
			{do: pass(30 * time.Second), want: time.Minute},
			{do: pass(hour), want: hour + 90*time.Second},
		}},
		{"drift", "a wall clock that goes faster is followed, one that goes slower is not", -hour, []row{
			{do: step(time.Second), want: 0},
			{do: pass(hour), want: hour + time.Second},
			{do: step(time.Second), want: hour + time.Second},
			{do: pass(hour), want: 2*hour + 2*time.Second},
			{do: step(-3 * time.Second), want: 2*hour + 2*time.Second},
			{do: pass(hour), want: 3*hour + 2*time.Second},
		}},
		{"suspended", "the time for which the machine was suspended is caught up like a step", -hour, []row{
			{do: pass(hour), want: hour},
			{do: suspend(8 * hour), want: hour, told: []time.Duration{8 * hour}},
			{do: pass(4 * hour), want: 9 * hour},
			{do: pass(4 * hour), want: 17 * hour},
			{do: pass(4 * hour), want: 21 * hour},
		}},
		{"begun behind", "time does not go back at a start: it goes on from the last one, and the wall clock waits", hour, []row{
			{do: pass(0), want: hour},
			{do: pass(time.Minute), want: hour + time.Minute},
			{do: step(hour), want: hour + time.Minute}, // right again
			{do: step(time.Minute), want: hour + time.Minute},
			{do: pass(time.Minute), want: hour + 3*time.Minute},
		}},
		{"begun ahead", "at a start the wall clock is believed", -year, []row{
			{do: pass(0), want: 0}, {do: pass(hour), want: hour},
		}},
		{"looked at rarely", "twice the real speed also counts for the time in which nobody looks", -hour, []row{
			{do: func(m *machine) { step(hour)(m); pass(40 * time.Minute)(m) }, want: 80 * time.Minute, told: []time.Duration{hour}},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Log("the rule: " + test.rule)
			m := new(machine)
			var told []time.Duration
			c := logclock.New(m.source, epoch.Add(test.atLeast), func(d time.Duration) { told = append(told, d) })
			for i, row := range test.rows {
				told = nil
				row.do(m)
				now := c.Now()
				if got := now.Sub(epoch); got != row.want || now.Location() != time.UTC {
					t.Errorf("row %d: the log's time is %v, want %v (%v)", i, got, row.want, now.Location())
				}
				if !slices.Equal(told, row.told) {
					t.Errorf("row %d: told of %v, want %v", i, told, row.told)
				}
			}
		})
	}
}

// A message that was stored at some time by the wall clock as it is set now is found by that
// time, whatever the clock did. So is one that was stored at some time of the log.
func TestSinceMissesNothing(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		m := new(machine)
		c := logclock.New(m.source, epoch.Add(-hour), nil)
		type message struct{ stored, elapsed time.Duration } // by the log's time, and by the monotonic clock
		var messages []message
		for range 400 {
			switch r.IntN(20) {
			case 0:
				step(time.Duration(r.Int64N(int64(2 * hour))))(m)
			case 1:
				step(-time.Duration(r.Int64N(int64(2 * hour))))(m)
			case 2:
				step(-m.off)(m)
			default:
				pass(time.Duration(r.Int64N(int64(2 * time.Minute))))(m)
			}
			messages = append(messages, message{c.Now().Sub(epoch), m.elapsed})
			for range 4 {
				asked := messages[r.IntN(len(messages))]
				wall, _ := m.source()
				at := wall.Add(asked.elapsed - m.elapsed) // when it was stored, by the wall clock now
				since := c.Since(at)
				if since.After(at) {
					t.Fatalf("seed %d: Since goes ahead, by %v", seed, since.Sub(at))
				}
				if missed := epoch.Add(asked.stored).Sub(since); missed <= -time.Millisecond {
					t.Fatalf("seed %d: a message misses by %v", seed, missed)
				}
			}
		}
	}
}

func TestSince(t *testing.T) {
	for _, row := range []struct {
		name  string
		do    []do
		t     time.Duration
		since time.Duration
	}{
		{"a clock that is right changes nothing", []do{pass(hour)}, 30 * time.Minute, 30 * time.Minute},
		{"nor does one that was set back", []do{pass(hour), step(-hour)}, 30 * time.Minute, 30 * time.Minute},
		{"nor one that was wrong for a while", []do{pass(hour), step(year), pass(time.Second), step(-year), pass(hour)}, 30 * time.Minute, 30 * time.Minute},
		{"before a step ahead, the log was behind", []do{pass(hour), step(hour)}, 90 * time.Minute, 30 * time.Minute},
		{"and is for what comes", []do{pass(hour), step(hour)}, 3 * hour, 2 * hour},
		{"while it catches up, it was behind by more", []do{pass(hour), step(hour), pass(time.Minute)}, 2 * hour, hour},
		{"once it has caught up, it still was", []do{pass(hour), step(hour), pass(hour), pass(9 * hour)}, 2 * hour, hour},
		{"and no longer is", []do{pass(hour), step(hour), pass(hour), pass(9 * hour)}, 11 * hour, 11 * hour},
	} {
		m := new(machine)
		c := logclock.New(m.source, time.Time{}, nil)
		for _, do := range row.do {
			do(m)
			c.Now()
		}
		if got := c.Since(epoch.Add(row.t)).Sub(epoch); got != row.since {
			t.Errorf("%s: since %v is %v, want %v", row.name, row.t, got, row.since)
		}
	}
	// Times that nobody means do no harm.
	c := logclock.New(new(machine).source, time.Time{}, nil)
	for _, far := range []time.Time{{}, time.Unix(1<<40, 0)} {
		if got := c.Since(far); got.After(far) {
			t.Errorf("since %v is %v", far, got)
		}
	}
}

// The clock never goes back, whoever looks at it, and tells each step once.
func TestClockByMany(t *testing.T) {
	m := new(machine)
	var mu sync.Mutex
	told := 0
	c := logclock.New(m.source, time.Time{}, func(time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		told++
	})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			last := c.Now()
			for range 20_000 {
				now := c.Now()
				if now.Before(last) {
					t.Errorf("%v comes after %v", now, last)
					return
				}
				last = now
				c.Since(now)
			}
		})
	}
	for i := range 2000 {
		m.mu.Lock()
		pass(time.Millisecond)(m)
		step([]time.Duration{time.Minute, -2 * time.Minute, time.Minute, 0}[i%4])(m)
		m.mu.Unlock()
	}
	m.mu.Lock()
	step(hour)(m)
	m.mu.Unlock()
	wg.Go(func() { c.Now() })
	wg.Wait()
	if told != 1 {
		t.Errorf("one step was told %d times", told)
	}
}

// System has the machine's wall clock, without a monotonic reading that would hide its
// steps, and the time that has passed.
func TestSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := logclock.System()
		wall, elapsed := source()
		time.Sleep(hour)
		later, then := source()
		if later.Sub(wall) != hour || then-elapsed != hour {
			t.Errorf("after an hour, the wall clock says %v, the other %v", later.Sub(wall), then-elapsed)
		}
		if wall != wall.Round(0) {
			t.Errorf("%v has a monotonic reading", wall)
		}
	})
}
