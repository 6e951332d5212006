package delivery

import "time"

// onTick does the work of one tick of the clock.
func (s *Shard) onTick() {
	s.tickTime = time.Now()
	s.clock++
	for i, pw := range s.pendingWrites {
		switch sl := &s.slots[i]; {
		case pw.concluded && s.tickTime.Sub(pw.since) > linger:
			s.end(i, pw.reason, nil) // the sink did not take the rest in time
		case sl.sink == Socket:
			s.tickSocket(i, pw)
		}
	}
	s.concludeDue()
	s.relievePins()
	if s.scanFrom >= len(s.slots) {
		s.scanFrom = 0
	}
}

// scanSlots is how many slots a keepAlivePass looks at.
const scanSlots = 4096

// keepAlivePass looks at the next slots. It sends the keep-alives that are due, and checks
// whether peers and busy tasks still make progress.
func (s *Shard) keepAlivePass() {
	keepAlive := uint16(max(0, min(s.opts.KeepAlive/s.tick, maxTicks)))
	end := min(len(s.slots), s.scanFrom+scanSlots)
	for work := 0; s.scanFrom < end && work < turnKeepAlives; s.scanFrom++ {
		i := uint32(s.scanFrom)
		sl := &s.slots[i]
		if sl.state == vacant {
			continue
		}
		if sl.busy {
			s.checkTask(i)
			continue
		}
		if sl.unacked && (s.clock+uint16(i))%s.peerCheckTicks == 0 {
			work++
			if s.checkPeer(i); sl.state == vacant {
				continue
			}
		}
		early := uint16(i*2654435761>>16) % (keepAlive/8 + 1) // a hash spreads the keep-alives
		if s.opts.KeepAlive <= 0 || sl.sink == Iterator || s.draining || s.clock-sl.lastActive < max(1, keepAlive-early) ||
			sl.stalled || sl.waiting || sl.hasPendingWrite {
			continue
		}
		if sl.state == detached || sl.state == live && sl.count == s.sets[sl.set].total() {
			work++
			frames, position := s.feed.KeepAlive(i)
			s.Send(i, frames, position)
		}
	}
}
