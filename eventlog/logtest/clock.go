package logtest

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventlog"
)

// began is when the tests of the clock begin, by a wall clock that is right.
var began = time.Date(2026, 3, 29, 0, 59, 0, 0, time.UTC)

// A machine has clocks that a test sets.
type machine struct {
	mu     sync.Mutex
	passed time.Duration
	off    time.Duration // how wrong the wall clock is
}

func (m *machine) clock() (wall time.Time, elapsed time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return began.Add(m.passed + m.off), m.passed
}

// pass lets time pass.
func (m *machine) pass(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.passed += d
}

// set makes the wall clock wrong by so much.
func (m *machine) set(off time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.off = off
}

const year = 365 * 24 * time.Hour

// clockAge and clockWindow are the retention and the window of the logs that clockCases get.
// They are short because a log may look at the age of its messages only now and then.
const (
	clockAge    = 500 * time.Millisecond
	clockWindow = 300 * time.Millisecond
)

type clockCase struct {
	name, rule string
	off        time.Duration // how wrong the wall clock is when the log is opened
	run        func(t *testing.T, l eventlog.Log, m *machine)
}

// begins waits until the log retains what a number begins.
func begins(t *testing.T, l eventlog.Log, first uint64) {
	t.Helper()
	st := state(t, l)
	for end := time.Now().Add(patience); st.First < first && time.Now().Before(end); st = state(t, l) {
		time.Sleep(time.Millisecond)
	}
	if st.First != first {
		t.Fatalf("the log retains %d to %d, want %d to %d", st.First, st.Last, first, st.Last)
	}
}

// publish appends a message with the key "k". It checks whether that is a repeat.
func publish(t *testing.T, l eventlog.Log, data string, repeat bool) {
	t.Helper()
	a := l.Append(within(t), []eventlog.Message{{Topic: "keyed", Key: "k", Data: data}})[0]
	if a.Err != nil || a.Repeat != repeat {
		t.Fatalf("with the key comes %+v, want a repeat: %v", a, repeat)
	}
}

var clockCases = []clockCase{
	{"window/state", "the state says how long the log remembers keys", 0, func(t *testing.T, l eventlog.Log, _ *machine) {
		if window := state(t, l).KeyWindow; window != clockWindow {
			t.Errorf("the log says that it remembers keys for %v, and was told %v", window, clockWindow)
		}
	}},
	{"retention/ahead for a while", "a message that was stored while the wall clock was a year ahead expires like any other, and keeps no other", 0, func(t *testing.T, l eventlog.Log, m *machine) {
		addTopics(t, l, "before")
		m.pass(100 * time.Millisecond)
		m.set(year)
		addTopics(t, l, "ahead") // at 100 ms
		m.set(0)
		m.pass(100 * time.Millisecond)
		addTopics(t, l, "after") // at 200 ms
		m.pass(301 * time.Millisecond)
		begins(t, l, 2)
		m.pass(100 * time.Millisecond)
		begins(t, l, 3)
		m.pass(100 * time.Millisecond)
		begins(t, l, 4)
		retains(t, l, 4, 3)
	}},
	{"retention/ahead for good", "a step of a year ahead removes nothing at once; what comes after it lives its time", 0, func(t *testing.T, l eventlog.Log, m *machine) {
		addTopics(t, l, "first")
		m.pass(200 * time.Millisecond)
		addTopics(t, l, "before") // at 200 ms
		m.set(year)
		addTopics(t, l, "after") // at 200 ms
		retains(t, l, 1, 3)
		m.pass(151 * time.Millisecond) // at 502 ms
		begins(t, l, 2)
		addTopics(t, l, "later")       // at 502 ms
		m.pass(100 * time.Millisecond) // at 702 ms
		begins(t, l, 4)
		m.pass(151 * time.Millisecond) // at 1004 ms
		begins(t, l, 5)
	}},
	{"retention/behind for a while", "a message that was stored while the wall clock was a year behind does not go when it is set right", -year, func(t *testing.T, l eventlog.Log, m *machine) {
		addTopics(t, l, "first")
		m.pass(200 * time.Millisecond)
		addTopics(t, l, "old") // at 200 ms
		m.set(0)
		addTopics(t, l, "new") // at 200 ms
		retains(t, l, 1, 3)
		m.pass(151 * time.Millisecond) // at 502 ms
		begins(t, l, 2)
		m.pass(100 * time.Millisecond) // at 702 ms
		begins(t, l, 4)
	}},
	{"retention/back", "a wall clock that goes back keeps nothing for longer", 0, func(t *testing.T, l eventlog.Log, m *machine) {
		addTopics(t, l, "before")
		m.pass(100 * time.Millisecond)
		m.set(-year)
		addTopics(t, l, "after") // at 100 ms
		m.pass(401 * time.Millisecond)
		begins(t, l, 2)
		m.pass(100 * time.Millisecond)
		begins(t, l, 3)
	}},
	{"keys", "a key is remembered for exactly its window of the log's time, in whichever direction the wall clock steps", 0, func(t *testing.T, l eventlog.Log, m *machine) {
		for i, row := range []struct {
			used, then time.Duration // how wrong the wall clock is when the key is used, and then
			window     time.Duration // how much time has to pass
		}{
			{0, 0, clockWindow},
			{0, time.Hour, clockWindow / 2}, // the log's time follows, at twice the real speed
			{0, -time.Hour, clockWindow},
			{time.Hour, 0, clockWindow},
			{time.Hour, time.Hour, clockWindow / 2},
			{year, -year, clockWindow},
			{-year, year, clockWindow / 2},
			{-time.Hour, 0, clockWindow},
		} {
			m.set(row.used)
			publish(t, l, "first", false)
			m.set(row.then)
			publish(t, l, "first", true)
			m.pass(row.window / 2)
			publish(t, l, "first", true)
			m.pass(row.window / 2)
			publish(t, l, "first", true)
			a := l.Append(within(t), []eventlog.Message{{Topic: "keyed", Key: "k", Data: "other"}})[0]
			if a.Err == nil {
				t.Errorf("row %d: a conflict got %+v", i, a)
			}
			m.pass(1)
			publish(t, l, "other", false)
			m.set(0)
			m.pass(2 * clockWindow)
		}
	}},
	{"times", "neither the time of a record nor that of a topic is before that of a former record, and At finds each by it", 0, func(t *testing.T, l eventlog.Log, m *machine) {
		for _, off := range []time.Duration{0, time.Hour, 0, -time.Hour, year, -year, time.Minute, 0} {
			m.set(off)
			for range 3 {
				addTopics(t, l, "a", "b")
				m.pass(10 * time.Millisecond)
			}
		}
		last := time.Time{}
		for _, r := range everything(t, l, 0, "**") {
			if r.Time.Before(last) {
				t.Errorf("record %d has the time %v, after %v", r.Seq, r.Time, last)
			}
			last = r.Time
			if seq, err := l.At(within(t), r.Time); err != nil || seq > r.Seq {
				t.Errorf("at the time of record %d begins %d, %v", r.Seq, seq, err)
			}
		}
		infos, err := l.Topics(within(t), filters(t, "**")[0], "", 10)
		if err != nil || len(infos) != 2 || infos[0].Time.After(infos[1].Time) || infos[1].Time != last {
			t.Errorf("the topics are %+v, %v; the last record is of %v", infos, err, last)
		}
	}},
	{"At", "At misses no message of the asked period, by the wall clock as it is set now, and by one that was always right", 0, func(t *testing.T, l eventlog.Log, m *machine) {
		var stored []time.Duration
		r := rand.New(rand.NewPCG(1, 1))
		for _, off := range []time.Duration{0, 80, 0, -100, 0, 200, 200, 50, -50, 0, 0, 100, 100} {
			m.set(off * time.Millisecond)
			for range 5 {
				addTopics(t, l, "a")
				stored = append(stored, m.passed)
				for i, at := range stored {
					for name, asked := range map[string]time.Duration{"now": m.off + at, "true": at} {
						seq, err := l.At(within(t), began.Add(asked))
						if want := max(uint64(i+1), state(t, l).First); err != nil || seq > want {
							t.Fatalf("with an offset of %v, at %v, %s, begins %d, %v; want %d", m.off, asked, name, seq, err, want)
						}
					}
				}
				m.pass(time.Duration(1+r.IntN(10)) * time.Millisecond)
			}
		}
	}},
	{"At/exact", "where the wall clock was wrong for a moment only, or is behind, At also finds nothing from before", 0, func(t *testing.T, l eventlog.Log, m *machine) {
		for i, off := range []time.Duration{0, 0, year, 0, -time.Hour, 0, 0} {
			m.set(off)
			at := m.passed
			addTopics(t, l, "a")
			m.set(0)
			m.pass(10 * time.Millisecond)
			if seq, err := l.At(within(t), began.Add(at)); err != nil || seq != uint64(i+1) {
				t.Errorf("at %v begins %d, %v; want %d", at, seq, err, i+1)
			}
		}
	}},
}
