// Package yield lets other goroutines run while one has much to do.
//
// Go takes the processor from a goroutine after 10 milliseconds only. A message passes through
// half a dozen goroutines on its way. Where many others each have work for so long, it would wait
// behind each of them, half a dozen times.
package yield

import "runtime"

// slice is how much work, in nanoseconds, is done at a time: little beside the delay of a
// message, and much beside the cost of a yield.
const slice = 100_000

// A Work counts what a goroutine does. One goroutine uses it. The zero value has done nothing, and
// has no lane.
type Work struct {
	lane  *Lane
	done  int
	place uint64 // that it has in the lane, or 0
	long  bool   // it has done a slice
}

// In returns a Work that needs a place in a lane to go on after its first slice. The caller calls
// Pause when it has ended.
func In(lane *Lane) Work { return Work{lane: lane} }

// Did counts work of about so many nanoseconds, and lets others run now and then.
func (w *Work) Did(nanos int) {
	if w.done += nanos; w.done >= slice {
		w.done, w.long = 0, true
		w.Pause()
		w.Resume()
	}
}

// Pause says that the goroutine does not work for now: it waits, or has ended. Its place is another's.
func (w *Work) Pause() {
	if w.place != 0 {
		w.lane.leave(w.place)
		w.place = 0
	}
}

// Resume says that it works again. If it has done a slice, it waits for a place.
func (w *Work) Resume() {
	if !w.long || w.place != 0 {
		return
	}
	if w.lane != nil {
		w.place = w.lane.enter()
	}
	runtime.Gosched() // the one before has ended just now: others first
}
