//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A trialPlan says how an attack is tried.
type trialPlan struct {
	program  string
	flags    []string // of the server
	env      []string
	control  controlSize
	progress io.Writer

	attack, decoy, limited, term, rest time.Duration
	divisor                            int // of the number of attackers and messages, 0 for 1
}

// limitVariable is in the environment of a server that has little memory.
const limitVariable = "GOMEMLIMIT=64MiB"

// runTrial tries an attack:
//
//  1. A server stores what the attack needs, and starts again. Its memory is now at rest.
//  2. The control group comes. The same attack hits a decoy, a second server.
//  3. The attack hits the server.
//  4. The server has some seconds to give everything back.
//  5. The attack hits a third server, which has little memory.
//  6. The attack hits the server again, and in the middle of it comes SIGTERM. The server then
//     starts again, and must have each acknowledged message.
//
// It also returns the server's log. What cannot be tried is in the result's err.
func runTrial(plan trialPlan, a attack) (r result, log string) {
	r = result{attack: a.name, what: a.what}
	t := &trial{plan: plan, attack: a, result: &r}
	defer t.end()
	steps := []func() error{t.fill, t.begin, t.hitDecoy, t.hit, t.recover, t.hitLimited, t.later, t.terminate}
	for _, step := range steps {
		if err := step(); err != nil {
			r.err = err
			break
		}
	}
	if t.main != nil {
		log = t.main.logged()
	}
	return r, log
}

type trial struct {
	plan           trialPlan
	attack         attack
	result         *result
	main           *server
	decoy, limited *server // nil for none
	control        *control
	struck         time.Time // when the attack on main ended
	stored         int64     // by the attack, for good
}

// end ends everything.
func (t *trial) end() {
	if t.control != nil {
		t.control.stop()
	}
	for _, s := range []*server{t.main, t.decoy, t.limited} {
		if s != nil {
			s.discard()
		}
	}
}

// fill stores what every attack and what this attack needs, on each server.
func (t *trial) fill() (err error) {
	if t.main, err = newServer(t.plan, t.attack); err != nil {
		return err
	}
	if t.attack.fresh {
		return t.fillFresh()
	}
	files := t.main.files
	t.main.files = 0 // it may need more to store than to serve
	if err := t.main.fill(t.attack); err != nil {
		return err
	}
	t.main.files = files
	if _, err := t.main.terminate(); err != nil {
		return err
	}
	if t.plan.decoy > 0 {
		if t.decoy, err = t.main.twin(); err != nil {
			return err
		}
	}
	if t.plan.limited > 0 {
		if t.limited, err = t.main.twin(limitVariable); err != nil {
			return err
		}
	}
	return t.main.start()
}

// fillFresh fills a server that does not start again. The decoy is filled when it is needed.
func (t *trial) fillFresh() (err error) {
	if t.plan.decoy > 0 {
		if t.decoy, err = newServer(t.plan, t.attack); err != nil {
			return err
		}
	}
	if t.plan.limited > 0 {
		if t.limited, err = newServer(t.plan, t.attack); err != nil {
			return err
		}
		t.limited.env = append(slices.Clone(t.limited.env), limitVariable)
	}
	return t.main.fill(t.attack)
}

// fill starts a server, and stores what every attack and what this attack needs. If the attack
// needs nothing, the newest messages fill the window, so that it does not grow any more.
func (s *server) fill(a attack) error {
	if err := s.start(); err != nil {
		return err
	}
	if _, err := s.publishAll(500, func(int) string { return batchLine("filler.old", "x") }); err != nil {
		return err
	}
	if a.fill == nil {
		return s.need(fullWindow)
	}
	return s.need(a.fill)
}

// need stores a filling, unless the log has it.
func (s *server) need(f *filling) error {
	if _, ok := s.filled[f]; ok || f == nil {
		return nil
	}
	marks, err := f.into(s)
	if err == nil {
		s.filled[f] = marks
	}
	return err
}

// fullWindow is as much as the window can hold.
var fullWindow = &filling{func(s *server) ([]string, error) { return nil, fillWindow(s) }}

// windowMessages fill the window with 8 KiB each: there may be 8,192, and 64 MiB.
const windowMessages = 8300

// fillWindow publishes as much as the window can hold.
func fillWindow(s *server) error {
	data := strings.Repeat("w", 8<<10)
	_, err := s.publishAll(s.many(windowMessages), func(int) string { return batchLine("filler.window", data) })
	return err
}

// startOther starts the decoy, or the server that has little memory.
func (t *trial) startOther(s *server) error {
	if t.attack.fresh {
		return s.fill(t.attack)
	}
	return s.start()
}

// begin starts the control group, and measures the rest.
func (t *trial) begin() (err error) {
	if t.control, err = startControl(t.main.place(), t.plan.control); err != nil {
		return err
	}
	time.Sleep(min(time.Second, t.plan.attack))
	if t.result.before, err = t.main.account(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	t.result.restMemory = t.main.memory()
	_, err = t.control.report()
	return err
}

// strike has the attack hit a server.
func (t *trial) strike(s *server, within time.Duration) (note string) {
	struck := t.attack.strike(s, within)
	if s == t.main {
		t.stored += struck.stored
		t.result.broken = struck.broken
	}
	return struck.note
}

// A struck is what an attack leaves behind.
type struck struct {
	note   string // what the attackers say
	stored int64
	broken string
}

// strike hits a server.
func (a attack) strike(s *server, within time.Duration) struck {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	defer attackersClient.CloseIdleConnections()
	t := &target{server: s, ctx: ctx, marks: s.filled[a.fill]}
	note := a.run(ctx, t)
	return struck{note, t.stored.Load(), t.broken}
}

// hitDecoy hits the decoy, while the control group is with the server.
func (t *trial) hitDecoy() error {
	if t.decoy == nil {
		return nil
	}
	if err := t.startOther(t.decoy); err != nil {
		return err
	}
	if _, err := t.control.report(); err != nil {
		return err
	}
	t.strike(t.decoy, t.plan.decoy)
	r, err := t.control.report()
	t.result.decoy = &r
	t.decoy.discard()
	t.decoy = nil
	return err
}

// hit hits the server.
func (t *trial) hit() (err error) {
	time.Sleep(min(t.plan.attack/8, 500*time.Millisecond))
	if _, err := t.control.report(); err != nil {
		return err
	}
	t.main.takePeak()
	t.result.note = t.strike(t.main, t.plan.attack)
	t.struck = time.Now()
	t.result.during, err = t.control.report()
	t.result.peakMemory = max(t.main.takePeak(), t.main.memory())
	if t.main.ended() {
		return fmt.Errorf("the server has ended: %v", t.main.err)
	}
	return err
}

// recover waits until the server holds as much as before, or its time is over.
func (t *trial) recover() error {
	deadline := t.struck.Add(t.plan.rest)
	for {
		a, err := t.main.account(deadline)
		if err != nil {
			return fmt.Errorf("after the attack: %w", err)
		}
		t.result.after, t.result.recovered, t.result.stored = a, time.Since(t.struck), t.stored
		if len(t.result.kept()) == 0 || time.Now().After(deadline) {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// later looks whether every message of the attack's time has come.
func (t *trial) later() (err error) {
	time.Sleep(time.Until(t.struck.Add(overdue + 200*time.Millisecond)))
	t.result.later, err = t.control.report()
	return err
}

// terminate sends SIGTERM in the middle of another attack, and looks what the log then has.
func (t *trial) terminate() error {
	if t.plan.term == 0 {
		return nil
	}
	struck := make(chan struct{})
	go func() {
		defer close(struck)
		t.strike(t.main, t.plan.term+500*time.Millisecond)
	}()
	time.Sleep(t.plan.term)
	r, err := t.control.report()
	if err != nil {
		return err
	}
	took, ended := t.main.terminate()
	t.control.stop()
	t.control = nil
	<-struck
	t.result.ended, t.result.endErr = took, ended
	// The server may have stored messages of the control group after the report, too.
	if err := t.main.start(); err != nil {
		return fmt.Errorf("after SIGTERM: %w", err)
	}
	t.result.unstored, err = t.main.lacks(r.Acked)
	t.main.kill()
	return err
}

// lacks returns how many of the control group's messages the log does not have once and in
// order.
func (s *server) lacks(acked []int) (lacking int, err error) {
	next, after := 0, ""
	last := -1
	for {
		events, err := s.history(controlTopic, after)
		if err != nil || len(events) == 0 {
			return lacking + len(acked) - next, err
		}
		for _, e := range events {
			var n int
			if _, err := fmt.Sscanf(e.Data, "n%d", &n); err != nil || n <= last {
				lacking++
				continue
			}
			last = n
			for next < len(acked) && acked[next] < n {
				next++
				lacking++
			}
			if next < len(acked) && acked[next] == n {
				next++
			}
		}
		after = events[len(events)-1].ID
	}
}

// hitLimited hits the server that has little memory, without a control group.
func (t *trial) hitLimited() error {
	if t.limited == nil {
		return nil
	}
	if err := t.startOther(t.limited); err != nil {
		return err
	}
	t.strike(t.limited, t.plan.limited)
	t.result.limitedMemory = max(t.limited.takePeak(), t.limited.memory())
	if t.limited.ended() {
		return fmt.Errorf("the server with %s has ended: %v", limitVariable, t.limited.err)
	}
	return nil
}
