//go:build linux

package main

import (
	"io"
	"time"
)

const ControlCommand = controlCommand

var (
	ControlMain    = controlMain
	RaiseFileLimit = raiseFileLimit
)

// Groups returns the names of the attacks that hit one server each, one after the other.
func Groups() [][]string {
	var groups [][]string
	for _, kind := range [][]attack{filterAttacks, readAttacks, slowAttacks, bodyAttacks, connectionAttacks, requestAttacks, http2Attacks, frameAttacks, tlsAttacks} {
		var names []string
		for _, a := range kind {
			if len(a.flags) > 0 {
				groups = append(groups, []string{a.name})
			} else {
				names = append(names, a.name)
			}
		}
		groups = append(groups, names)
	}
	for _, a := range descriptorAttacks {
		groups = append(groups, []string{a.name})
	}
	return groups
}

// RunShort runs the short form of attacks on one server.
func RunShort(program string, names []string, divisor int, progress io.Writer) (missed []string, log string, err error) {
	var group []attack
	for _, name := range names {
		a, err := choose(name)
		if err != nil {
			return nil, "", err
		}
		group = append(group, a...)
	}
	return runShort(trialPlan{
		program: program, control: shortControl, progress: progress, divisor: divisor,
		attack: 400 * time.Millisecond, term: 300 * time.Millisecond, rest: shortRecovery,
	}, group)
}

type (
	Result         = result
	Account        = account
	ControlReport  = controlReport
	NewcomerReport = newcomerReport
)

// NewResult returns a result in which nothing was missed. change, if not nil, changes it.
func NewResult(change func(r *result)) *result {
	r := &result{
		during:     controlReport{},
		restMemory: 100 << 20, peakMemory: 150 << 20, limitedMemory: 90 << 20,
		before: account{Descriptors: 80, Goroutines: 40, Heap: 60 << 20},
		after:  account{Descriptors: 81, Goroutines: 39, Heap: 70 << 20},
		ended:  time.Second,
	}
	r.during.Delivery.Count, r.during.Delivery.P99 = 1000, 20
	if change != nil {
		change(r)
	}
	return r
}

// Missed returns what an attack must not do and did.
func Missed(r *result) []string { return r.missed() }

// During, Later, Decoy and the others give the tests access to a result.
func During(r *result) *controlReport { return &r.during }
func Later(r *result) *controlReport  { return &r.later }
func After(r *result) *account        { return &r.after }
func Stored(r *result, n int64)       { r.stored = n }
func Ended(r *result, after time.Duration, err error, lacks int) {
	r.ended, r.endErr, r.unstored = after, err, lacks
}
func Memory(r *result, peak, limited int64) { r.peakMemory, r.limitedMemory = peak, limited }
func Broken(r *result, promise string)      { r.broken = promise }
func Err(r *result, err error)              { r.err = err }

// Decoy gives the result a decoy with a delay in milliseconds.
func Decoy(r *result, p99 float64) {
	r.decoy = &controlReport{}
	r.decoy.Delivery.P99 = p99
}

// PrintTable prints one result.
func PrintTable(w io.Writer, r *result) { printTable(w, []result{*r}) }

// Follow returns what a control group reports whose messages were due one after the other, from
// age ago. acked has the numbers of those that were acknowledged. Each of streams has the lines
// that a member reads.
func Follow(messages int, age time.Duration, acked []int, streams ...[]string) controlReport {
	now := time.Now()
	g := &group{acked: acked}
	for range messages {
		g.due = append(g.due, now.Add(-age))
	}
	for _, lines := range streams {
		m := &member{group: g}
		g.members = append(g.members, m)
		for _, line := range lines {
			m.take(line)
		}
	}
	return g.report(now)
}

// Answer judges a newcomer's answer.
func Answer(status int, header map[string][]string, text string) (good, polite bool) {
	a := answer{status, header, []byte(text)}
	return a.good(), a.polite()
}
