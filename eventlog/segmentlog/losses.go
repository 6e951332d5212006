package segmentlog

import (
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"example.com/tidings/eventlog"
)

// losses logs the holes that readers and the verification find, and keeps them in the
// sidecars, so that the next start knows them. Readers do not wait for that.
type losses struct {
	log  *Log
	wake chan struct{} // has room for one

	mu    sync.Mutex
	found map[*segment]spans // not logged yet
}

// The bounds of what is logged: damage that is found at once makes few lines, and much of
// it makes few lines a minute.
const (
	lossGather = time.Second // so long, holes are gathered and joined
	lossLines  = 10          // then so many are logged one by one, and the rest as one
	lossPause  = time.Minute // after that, nothing is logged for so long
)

func newLosses(l *Log) *losses {
	return &losses{log: l, wake: make(chan struct{}, 1), found: map[*segment]spans{}}
}

// noteLost notes that some numbers of a segment have no record that can be read.
func (l *Log) noteLost(s *segment, h span) {
	h, told := s.note(h)
	if told {
		return
	}
	x := l.losses
	x.mu.Lock()
	x.found[s] = x.found[s].add(h)
	x.mu.Unlock()
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// note adds a hole that was found. It returns all of the hole, and whether it was logged.
func (s *segment) note(h span) (all span, told bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holes = s.holes.add(h)
	all, _ = s.holes.after(h.first - 1)
	told = s.told.has(all)
	s.told = s.told.add(all)
	return all, told
}

// run logs and keeps what is found until the log is closed.
func (x *losses) run() {
	for open := true; open; {
		select {
		case <-x.wake:
			open = x.log.wait(lossGather)
		case <-x.log.closing.Done():
			open = false
		}
		for x.settle() && open {
			open = x.log.wait(lossPause)
		}
	}
}

// wait waits. It returns false if the log is closed before.
func (l *Log) wait(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-l.closing.Done():
		return false
	}
}

// whatToDo ends the lines about lost messages.
const whatToDo = `; subscribers get a gap; check the disk, run "tidings log verify", and restore a backup if you need the messages`

// settle logs what was found, and writes the sidecars. It reports whether that was too much
// to log one by one.
func (x *losses) settle() (much bool) {
	x.mu.Lock()
	found := x.found
	x.found = map[*segment]spans{}
	x.mu.Unlock()
	list := x.log.list()
	logger, lines := x.log.opts.Logger, 0
	rest, ranges := span{math.MaxUint64, 0}, 0
	messages := uint64(0)
	for i, s := range list {
		holes := found[s]
		for _, h := range holes {
			if lines++; lines <= lossLines {
				logger.Error("messages are lost: their records are damaged or missing"+whatToDo,
					"first", h.first, "last", h.last, "file", s.path)
				continue
			}
			ranges, messages = ranges+1, messages+h.last-h.first+1
			rest = span{min(rest.first, h.first), max(rest.last, h.last)}
		}
		// The newest segment gets its sidecar when it ends.
		if len(holes) > 0 && i+1 < len(list) {
			if err := s.saveSidecar(); err != nil {
				logger.Warn("the log cannot note which messages are lost; the next start finds them again", "file", s.path, "error", err)
			}
		}
	}
	if ranges > 0 {
		logger.Error("more messages are lost"+whatToDo, "ranges", ranges, "messages", messages, "from", rest.first, "to", rest.last)
	}
	return ranges > 0
}

// mostScans is how many times a segment is read whole because holes are found in it. On a
// disk that fails bit by bit, each would be a new one.
const mostScans = 8

// knows reports whether it is known that some numbers have no frame. Callers hold mu.
func (s *segment) knows(h span) bool {
	if s.scans > 0 { // then no frame lies before the first number or after the last one
		h.first, h.last = max(h.first, s.first), min(h.last, s.last)
	}
	return h.first > h.last || s.holes.has(h) || s.scans >= mostScans
}

// certain reports whether some numbers of a segment surely have no frame. The table may have
// misled the reader, if it is from a sidecar or the frames have moved: then certain reads the
// segment whole, and the caller looks again.
func (l *Log) certain(s *segment, h span) (bool, error) {
	if list := l.list(); s == list[len(list)-1] {
		return true, nil
	}
	s.mu.Lock()
	known, scans := s.knows(h), s.scans
	s.mu.Unlock()
	if known {
		return true, nil
	}
	s.loading.Lock()
	defer s.loading.Unlock()
	s.mu.Lock()
	again, holes := s.scans > scans, slices.Clone(s.holes)
	s.mu.Unlock()
	if again {
		return false, nil // another reader has read it meanwhile
	}
	f, err := s.acquire()
	if errors.Is(err, errUnreadable) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer s.release()
	size, err := f.size()
	if err != nil {
		return false, err
	}
	l.correct(s, s.scan(f, size), holes)
	return false, nil
}

// correct sets the table of a segment to what a scan of the whole file has found. known are
// the holes from before the scan. The segment gets no frames meanwhile.
func (l *Log) correct(s *segment, t table, known spans) {
	s.correct(t, known)
	if l.index != nil && l.holesEnded(s, known) {
		l.index.repaired.Store(true)
		l.index.signal()
	}
}

// holesEnded reports whether some of the holes that were known of a segment are none. A scan of the
// segment tells nothing of those before its first number and after its last one. They end when
// another segment has them.
func (l *Log) holesEnded(s *segment, known spans) bool {
	list := l.list()
	i := slices.Index(list, s)
	if i < 0 {
		return false // retention has removed it
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(known, func(h span) bool {
		if i > 0 && h.first < s.first || i+1 < len(list) && h.last >= list[i+1].first {
			return true
		}
		h.first, h.last = max(h.first, s.first), min(h.last, s.last)
		return h.first <= h.last && !s.holes.has(h)
	})
}

func (s *segment) correct(t table, known spans) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.holes {
		if !known.has(h) {
			t.holes = t.holes.add(h) // a reader has met it meanwhile
		}
	}
	if s.loaded {
		if t.last < s.last {
			t.holes = t.holes.add(span{t.last + 1, s.last})
		}
		// What cannot be read now may be read later.
		t.last, t.end = max(t.last, s.last), max(t.end, s.end)
	}
	s.table, s.loaded = t, true
	s.scans++
}

// holesOf returns the holes of a segment of the list: those that it knows, and, if it is
// loaded, those from its last frame to the next segment, and of the oldest one those before
// it. Numbers that have expired are not among them.
func (l *Log) holesOf(list []*segment, i int) spans {
	s, first := list[i], l.first.Load()
	s.mu.Lock()
	holes, after, loaded := slices.Clone(s.holes), s.last, s.loaded
	s.mu.Unlock()
	last := after
	if i+1 < len(list) {
		last = list[i+1].first - 1
	} else if !s.own {
		last = max(last, l.began-1) // the disk is full: there is no newer one
	}
	if loaded && after < last {
		holes = holes.add(span{after + 1, last})
	}
	if i > 0 {
		first = max(first, s.first)
	} else if first < s.first {
		holes = holes.add(span{first, s.first - 1})
	}
	return holes.within(span{first, last})
}

// Stats returns figures of the log, see [eventlog.Stats].
func (l *Log) Stats() eventlog.Stats {
	var st eventlog.Stats
	list := l.list()
	for i, s := range list {
		s.mu.Lock()
		end, verified := s.end, min(s.verified, s.end)
		if s.own {
			verified = end
		}
		s.mu.Unlock()
		st.Bytes += end
		st.Verified += verified
		st.Lost += l.holesOf(list, i).count()
	}
	return st
}
