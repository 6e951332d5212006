package delivery

import "time"

// ticked does what time asks for.
func (s *Shard) ticked() {
	s.time = time.Now()
	s.clock++
	for i, x := range s.rare {
		switch sl := &s.slots[i]; {
		case x.ending != nil && s.time.Sub(x.since) > linger:
			s.end(i, Concluded, nil) // its sink did not take the rest
		case sl.sink == Socket:
			s.tickSocket(i, x)
		}
	}
	s.concludeDue()
	if s.due >= len(s.slots) {
		s.due = 0
	}
}

// turnScan is how many streams are looked at for that at a time.
const turnScan = 4096

// beat looks at some of the streams: whether they are due for a keep-alive, and whether
// their client is still there.
func (s *Shard) beat() {
	keepAlive := uint16(max(0, min(s.opts.KeepAlive/s.tick, maxTicks)))
	end := min(len(s.slots), s.due+turnScan)
	for work := 0; s.due < end && work < turnBeats; s.due++ {
		i := uint32(s.due)
		sl := &s.slots[i]
		if sl.state == vacant {
			continue
		}
		if sl.busy {
			s.lookAfter(i)
			continue
		}
		if sl.sent && (s.clock+uint16(i))%s.inquiry == 0 {
			work++
			if s.inquire(i); sl.state == vacant {
				continue
			}
		}
		early := uint16(i*2654435761>>16) % (keepAlive/8 + 1)
		if s.opts.KeepAlive <= 0 || sl.sink == Iterator || s.draining || s.clock-sl.last < max(1, keepAlive-early) ||
			sl.stalled || sl.waiting || sl.rare {
			continue
		}
		if sl.state == detached || sl.state == live && sl.count == s.sets[sl.set].total() {
			work++
			frames, position := s.feed.KeepAlive(i)
			s.Send(i, frames, position)
		}
	}
}
