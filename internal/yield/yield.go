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

// A Work counts what a goroutine does. One goroutine uses it. The zero value has done nothing.
type Work struct{ done int }

// Did counts work of about so many nanoseconds, and lets others run now and then.
func (w *Work) Did(nanos int) {
	if w.done += nanos; w.done >= slice {
		w.done = 0
		runtime.Gosched()
	}
}
