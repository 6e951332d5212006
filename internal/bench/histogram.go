package bench

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// A histogram has 2^subBits counters for each power of two, so that a value is known
// to within 1.6 %. The last counter also counts everything above 2^maxBits ns, which
// is 73 minutes.
const (
	subBits  = 6
	maxBits  = 42
	counters = (maxBits - subBits + 1) << subBits
)

// A histogram counts any number of durations in 19 kB. It may be used concurrently.
// The zero value is empty.
type histogram struct {
	counts [counters]atomic.Int64
	max    atomic.Int64
}

// add counts a duration. A negative one counts as 0.
func (h *histogram) add(d time.Duration) {
	v := max(int64(d), 0)
	h.counts[slotOf(v)].Add(1)
	storeMax(&h.max, v)
}

// merge adds the counts of other.
func (h *histogram) merge(other *histogram) {
	for i := range other.counts {
		if n := other.counts[i].Load(); n != 0 {
			h.counts[i].Add(n)
		}
	}
	storeMax(&h.max, other.max.Load())
}

// quantile returns the smallest duration that at least a fraction q of all durations,
// 0 to 1, does not exceed. It is accurate to the width of a counter, and 0 if the
// histogram is empty.
func (h *histogram) quantile(q float64) time.Duration {
	var total int64
	for i := range h.counts {
		total += h.counts[i].Load()
	}
	if total == 0 {
		return 0
	}
	rank := min(max(int64(q*float64(total)+0.999999), 1), total)
	for i := range h.counts {
		if rank -= h.counts[i].Load(); rank <= 0 && i < counters-1 {
			return time.Duration(min(highest(i), h.max.Load()))
		}
	}
	return time.Duration(h.max.Load())
}

// slotOf returns the index of the counter for v.
func slotOf(v int64) int {
	if v < 1<<subBits {
		return int(v)
	}
	exp := bits.Len64(uint64(v)) - 1 - subBits
	return min(exp<<subBits+int(v>>exp), counters-1)
}

// highest returns the greatest value that counter i counts.
func highest(i int) int64 {
	if i < 1<<subBits {
		return int64(i)
	}
	exp := i>>subBits - 1
	return (int64(i)-int64(exp)<<subBits+1)<<exp - 1
}

// storeMax makes a at least v.
func storeMax(a *atomic.Int64, v int64) {
	for {
		old := a.Load()
		if v <= old || a.CompareAndSwap(old, v) {
			return
		}
	}
}
