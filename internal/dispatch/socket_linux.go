package dispatch

import "example.com/tidings/internal/delivery"

// OpenSocket begins a stream on a descriptor, on a shard that has a place for it. It returns
// false if the dispatcher is closed. Then the descriptor remains the caller's. Otherwise the end of
// the stream releases its booking.
func (d *Dispatcher) OpenSocket(s *delivery.Shard, fd int, o *Opening) bool {
	f := s.Feed().(*feed)
	return s.Do(func() {
		if !f.open(o, func(set *delivery.Set, form, tag uint8) (uint32, bool) { return s.Open(fd, set, form, tag) }) {
			o.Cursor.booking.Release()
			d.opts.SocketGone()
			o.TooLate()
		}
	})
}
