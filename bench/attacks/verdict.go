//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// What an attack must not do.
const (
	// The control group's 99th percentile may be three times that beside the decoy, or this
	// many milliseconds.
	mostDelay      = 50
	mostDecoyTimes = 3

	mostNewcomer = 1000 // milliseconds until a newcomer has an answer

	mostGrowth  = 256 << 20 // memory above rest
	mostLimited = 200 << 20 // memory with GOMEMLIMIT=64MiB

	// Some seconds after the attack. The log opens and closes files all the time, and has
	// goroutines that write them.
	mostNewDescriptors = 16
	mostNewGoroutines  = 16
	mostNewHeap        = 32 << 20 // or a tenth of the heap before, besides what the attack has stored

	mostEnd = 3 * time.Second // from SIGTERM until the process has ended
)

// A result is what an attack did. A zero figure was not measured.
type result struct {
	attack, what string
	tries        int
	note, broken string // what the attackers say, and which promise was broken to them
	err          error  // what ended the trial too early

	decoy         *controlReport // beside the attack on the decoy
	during, later controlReport  // during the attack, and after it

	restMemory, peakMemory, limitedMemory int64

	before, after account
	stored        int64 // by the attack, in memory for good
	recovered     time.Duration

	ended    time.Duration
	endErr   error
	unstored int // acknowledged messages that the log lacks after SIGTERM
}

// delayLimit returns the control group's delay that is allowed, in milliseconds.
func (r *result) delayLimit() float64 {
	if r.decoy == nil {
		return mostDelay
	}
	return max(mostDecoyTimes*r.decoy.Delivery.P99, mostDelay)
}

// kept says what the server still holds that it did not hold before.
func (r *result) kept() (kept []string) {
	if n := r.after.Descriptors - r.before.Descriptors; n > mostNewDescriptors {
		kept = append(kept, fmt.Sprintf("%d descriptors more", n))
	}
	if n := r.after.Goroutines - r.before.Goroutines; n > mostNewGoroutines {
		kept = append(kept, fmt.Sprintf("%d goroutines more", n))
	}
	if n := r.after.Heap - r.before.Heap - r.stored; n > max(mostNewHeap, r.before.Heap/10) {
		kept = append(kept, fmt.Sprintf("%d MB more of the heap", n>>20))
	}
	return kept
}

// missed returns a sentence for each thing that the attack must not do and did.
func (r *result) missed() (missed []string) {
	say := func(bad bool, format string, args ...any) {
		if bad {
			missed = append(missed, fmt.Sprintf(format, args...))
		}
	}
	say(r.err != nil, "%v", r.err)
	say(r.broken != "", "%s", r.broken)
	d := r.during
	say(d.Delivery.Count == 0, "the control group got nothing")
	say(d.Delivery.P99 > r.delayLimit(), "p99 is %.0f ms, and may be %.0f", d.Delivery.P99, r.delayLimit())
	for _, p := range []controlReport{d, r.later} {
		say(p.Lost > 0, "%d messages were lost", p.Lost)
		say(p.Twice > 0, "%d messages came twice", p.Twice)
		say(p.Gaps > 0, "%d gaps", p.Gaps)
		say(p.Cut > 0, "%d streams of the control group were ended", p.Cut)
	}
	say(r.later.Overdue > 0, "%d messages have not come", r.later.Overdue)
	say(d.Newcomer.Wrong > 0, "newcomers were answered wrongly %d times (%s)", d.Newcomer.Wrong, d.Newcomer.Why)
	say(d.Newcomer.Slowest > mostNewcomer, "a newcomer waited %.0f ms", d.Newcomer.Slowest)
	growth := r.peakMemory - r.restMemory
	say(growth > mostGrowth, "%d MB above rest", growth>>20)
	say(r.limitedMemory > mostLimited, "%d MB with %s", r.limitedMemory>>20, limitVariable)
	if r.after != (account{}) {
		missed = append(missed, r.kept()...)
	}
	say(r.ended > mostEnd, "SIGTERM took %v", r.ended.Round(time.Millisecond))
	say(r.endErr != nil, "SIGTERM: %v", r.endErr)
	say(r.unstored > 0, "the log lacks %d acknowledged messages", r.unstored)
	return slices.Compact(missed)
}

// report is the result for the reader of the progress.
func (r *result) report() string {
	word := "ok"
	if missed := r.missed(); len(missed) > 0 {
		word = "MISSED: " + strings.Join(missed, "; ")
	}
	return fmt.Sprintf("%s: %s\n    %s\n    %s\n", r.attack, word, strings.Join(r.figures(), " | "), r.note)
}
