//go:build linux

package main

import (
	"fmt"
	"time"
)

// What the short form of an attack must not do. A machine that is busy with other tests must
// not make it fail, so only an outage, a leak, a loss or much memory does.
const (
	shortDelay    = 10 * time.Second // of the control group and of newcomers
	shortRecovery = 30 * time.Second
	shortEnd      = 10 * time.Second
)

// windowBytes is how much the window may grow. The short form does not fill it first.
const windowBytes = 64 << 20

var shortControl = controlSize{Taken: 4, Plain: 1, Every: 50 * time.Millisecond}

// runShort has attacks hit one server, one after the other, and SIGTERM come in the middle of the
// last. The flags are those of the first attack. It returns a sentence for each thing that an
// attack must not do and did.
func runShort(plan trialPlan, group []attack) (missed []string, log string, err error) {
	t := &trial{plan: plan, attack: group[0], result: &result{}, stored: windowBytes}
	defer t.end()
	for _, a := range group {
		t.attack.http2 = t.attack.http2 || a.http2
	}
	if t.main, err = newServer(plan, t.attack); err == nil {
		err = t.main.start()
	}
	if err == nil && t.main.files == 0 {
		err = t.main.need(fullWindow)
	}
	if err == nil {
		err = t.begin()
	}
	for _, a := range group {
		if err == nil {
			var more []string
			more, err = t.short(a)
			missed = append(missed, more...)
		}
	}
	if err == nil {
		t.attack = group[len(group)-1]
		t.struck = time.Now()
		err = t.shortEnd()
		missed = append(missed, t.result.missedShort()...)
	}
	if t.main == nil {
		return missed, "", err
	}
	if err != nil && t.main.cmd != nil && t.main.ended() {
		err = fmt.Errorf("the server has ended (%v): %w", t.main.err, err)
	}
	return missed, t.main.logged(), err
}

// short has an attack hit the server.
func (t *trial) short(a attack) (missed []string, err error) {
	say := func(bad bool, format string, args ...any) {
		if bad {
			missed = append(missed, a.name+": "+fmt.Sprintf(format, args...))
		}
	}
	if err := t.main.need(a.fill); err != nil {
		return nil, err
	}
	rest := t.main.memory()
	t.main.takePeak()
	struck := a.strike(t.main, t.plan.attack)
	t.stored += struck.stored
	r, err := t.calm()
	if err != nil {
		return nil, err
	}
	if t.main.ended() {
		return nil, fmt.Errorf("%s: the server has ended: %v", a.name, t.main.err)
	}
	growth := max(t.main.takePeak(), t.main.memory()) - rest
	fmt.Fprintf(t.plan.progress, "%s: p99 %.0f ms, newcomers at most %.0f ms, %+d MB; %s\n", a.name, r.Delivery.P99, r.Newcomer.Slowest, growth>>20, struck.note)
	say(r.Oldest > calmAge, "after %v a message of the control group is still under way", shortDelay)
	say(r.Lost > 0, "%d messages were lost", r.Lost)
	say(r.Twice > 0, "%d messages came twice", r.Twice)
	say(r.Gaps > 0, "%d gaps", r.Gaps)
	say(r.Cut > 0, "%d streams of the control group were ended", r.Cut)
	say(r.Newcomer.Wrong > 0, "newcomers were answered wrongly %d times (%s)", r.Newcomer.Wrong, r.Newcomer.Why)
	say(r.Newcomer.Slowest > milliseconds(shortDelay), "a newcomer waited %.0f ms", r.Newcomer.Slowest)
	say(growth > mostGrowth, "%d MB more of memory", growth>>20)
	return missed, nil
}

// calmAge is the age of the oldest message under way, in milliseconds, from which on an attack is
// not over.
const calmAge = 1000

// calm waits until the control group gets its messages again. It returns what was seen since the
// attack began.
func (t *trial) calm() (r controlReport, err error) {
	for deadline := time.Now().Add(shortDelay); ; time.Sleep(50 * time.Millisecond) {
		more, err := t.control.report()
		if err != nil {
			return r, err
		}
		r.add(more)
		if r.Oldest <= calmAge || time.Now().After(deadline) {
			return r, nil
		}
	}
}

// add adds what was seen since r.
func (r *controlReport) add(more controlReport) {
	r.Delivery.P99 = max(r.Delivery.P99, more.Delivery.P99)
	r.Oldest = more.Oldest
	r.Lost += more.Lost
	r.Twice += more.Twice
	r.Gaps += more.Gaps
	r.Cut += more.Cut
	n, m := &r.Newcomer, more.Newcomer
	n.Served, n.Refused, n.Wrong = n.Served+m.Served, n.Refused+m.Refused, n.Wrong+m.Wrong
	n.Slowest = max(n.Slowest, m.Slowest)
	if m.Why != "" {
		n.Why = m.Why
	}
}

// shortEnd looks what the server gives back, and ends it in the middle of an attack.
func (t *trial) shortEnd() (err error) {
	if err := t.recover(); err != nil {
		return err
	}
	if t.result.later, err = t.calm(); err != nil {
		return err
	}
	return t.terminate()
}

// missedShort returns what the server has not given back, and how it ended.
func (r *result) missedShort() (missed []string) {
	missed = r.kept()
	if r.later.Lost > 0 || r.later.Oldest > calmAge {
		missed = append(missed, fmt.Sprintf("%d messages were lost, and the oldest one under way is %.0f ms old", r.later.Lost, r.later.Oldest))
	}
	if r.ended > shortEnd || r.endErr != nil {
		missed = append(missed, fmt.Sprintf("SIGTERM took %v: %v", r.ended, r.endErr))
	}
	if r.unstored > 0 {
		missed = append(missed, fmt.Sprintf("the log lacks %d acknowledged messages", r.unstored))
	}
	return missed
}
