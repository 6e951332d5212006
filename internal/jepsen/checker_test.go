//go:build unix

package jepsen_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"example.com/tidings/topics"
)

// The faults that the checker finds. A pair is a subscriber and a message that it was owed.
const (
	silentPair   = "silent pairs"                                // acknowledged, neither delivered nor told
	passedPair   = "passed pairs"                                // in the log but not acknowledged, neither delivered nor told
	skippedPair  = "skipped pairs"                               // in the log, told as gone
	twoNames     = "ids that name two messages"                  //
	again        = "ids twice to one subscriber"                 //
	storedTwice  = "messages stored twice"                       //
	falseGap     = "false gaps"                                  // told, though nothing is gone
	wrongID      = "acknowledgements with another's id"          // the log has the message under another id
	disorder     = "events out of order"                         //
	leaked       = "removed messages delivered"                  //
	refusedFirst = "refused messages that are stored"            //
	invented     = "events that nobody published"                //
	lostMessage  = "acknowledged messages lost without a reason" //
	unreached    = "subscribers that never got to the end"       //
	wrongResume  = "ids that resume at a wrong place"            //
	wrongStatus  = "answers with a wrong status"                 //
	late         = "nodes that came back too late"               //
)

// seconds is how long nodes may need to see that a message was removed.
const seconds = 10 * time.Second

// A verdict is what the checker says about a history.
type verdict struct {
	found map[string][]string // descriptions by fault

	published, acked, gone int // gone: acknowledged, and no longer in the log
	delivered, gaps        int
}

func (v *verdict) add(what, format string, args ...any) {
	v.found[what] = append(v.found[what], fmt.Sprintf(format, args...))
}

// summary has the figures of a verdict in one line.
func (v *verdict) summary() string {
	s := fmt.Sprintf("%d messages, %d acknowledged, %d of them gone; %d deliveries, %d gaps", v.published, v.acked, v.gone, v.delivered, v.gaps)
	for _, what := range slices.Sorted(maps.Keys(v.found)) {
		s += fmt.Sprintf("; %d %s", len(v.found[what]), what)
	}
	return s
}

// A checker checks one history.
type checker struct {
	*history
	*verdict
	eras    eras
	stored  map[string][]uint64 // the numbers of each name in the log
	present map[uint64]bool     // the numbers of the log that can be sent as events
	ids     map[string]string   // the id of each name in the log, as clients have it
}

// check checks a history.
func check(h *history) *verdict {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &checker{
		history: h, verdict: &verdict{found: map[string][]string{}}, eras: erasOf(h),
		stored: map[string][]uint64{}, present: map[uint64]bool{}, ids: map[string]string{},
	}
	for _, r := range h.log {
		m := h.messages[r.name]
		c.present[r.seq] = !r.bad && (m == nil || !m.optional)
		if r.name != "" {
			c.stored[r.name] = append(c.stored[r.name], r.seq)
		}
	}
	c.checkNames()
	c.checkMessages()
	c.checkPublishers()
	for _, tr := range h.traces {
		c.checkTrace(tr)
	}
	return c.verdict
}

// checkNames checks that each id names one message.
func (c *checker) checkNames() {
	names := map[string]string{}
	named := map[string]bool{}
	name := func(id, name, by string) {
		if old, ok := names[id]; !ok {
			names[id] = name
		} else if old != name && !named[id] {
			named[id] = true
			c.add(twoNames, "%s is %s and %s, the second one by %s", id, old, name, by)
		}
		// The number of a message in the log has an id: the newest that names it.
		if _, _, seq := parse(id); slices.Contains(c.stored[name], seq) && (c.ids[name] == "" || c.eras.place(c.ids[name]).before(c.eras.place(id))) {
			c.ids[name] = id
		}
	}
	for _, tr := range c.traces {
		for _, e := range tr.events {
			if e.kind == received {
				name(e.id, e.name, tr.name)
			}
		}
	}
	for _, m := range c.order {
		for _, a := range m.acks {
			name(a.id, m.name, "an acknowledgement")
		}
	}
}

// checkMessages compares each message with the log.
func (c *checker) checkMessages() {
	seen := map[string]string{} // who has had a message
	for _, tr := range c.traces {
		for _, e := range tr.events {
			if e.kind == received {
				seen[e.name] = tr.name
			}
		}
	}
	for _, m := range c.order {
		c.published++
		seqs := c.stored[m.name]
		if len(seqs) > 1 && !c.disputed[m.name] {
			c.add(storedTwice, "%s (key %q) has the numbers %d", m.name, m.key, seqs)
		}
		if m.refused && (len(seqs) > 0 || seen[m.name] != "") {
			c.add(refusedFirst, "%s has the numbers %d, and was delivered to %q", m.name, seqs, seen[m.name])
		}
		if len(m.acks) == 0 {
			continue
		}
		c.acked++
		newest := m.acks[len(m.acks)-1]
		_, removed := c.removed[m.name]
		if len(seqs) == 0 {
			if c.gone++; !removed && !c.lossyBetween(m.acks[0].at.Add(-seconds), time.Now().Add(time.Hour)) {
				c.add(lostMessage, "%s, acknowledged as %s at %s", m.name, newest.id, newest.at.Format("15:04:05.000"))
			}
			continue
		}
		c.checkAck(m, newest, seqs)
	}
}

// checkAck compares the newest id of a message with the one that it has in the log. They may
// differ in their epochs if both have the record's mark.
func (c *checker) checkAck(m *message, newest ack, seqs []uint64) {
	epoch, mark, seq := parse(newest.id)
	ofEpoch, ofMark, _ := parse(c.ids[m.name])
	switch {
	case slices.Contains(seqs, seq) && (mark != ofMark || mark == "" && epoch != ofEpoch):
		c.add(wrongID, "%s is acknowledged as %s, but is %s", m.name, newest.id, c.ids[m.name])
	case !slices.Contains(seqs, seq) && !c.lossyBetween(m.began.Add(-seconds), time.Now().Add(time.Hour)):
		c.add(wrongID, "%s is acknowledged as %s, but has the number %d", m.name, newest.id, seqs)
	}
}

// lossyBetween reports whether a fault of this time may have lost messages.
func (c *checker) lossyBetween(from, to time.Time) bool {
	return slices.ContainsFunc(c.faults, func(f *fault) bool {
		return f.lossy && !f.at.After(to) && (f.healed.IsZero() || !f.healed.Before(from))
	})
}

// checkPublishers checks that messages that were published one after the other are stored
// in that order.
func (c *checker) checkPublishers() {
	last := map[string]*message{}
	for _, m := range c.order {
		if len(m.acks) != 1 || len(c.stored[m.name]) != 1 {
			continue
		}
		before := last[m.publisher]
		if before != nil && before.acks[0].at.Before(m.began) && c.stored[before.name][0] > c.stored[m.name][0] {
			c.add(disorder, "%s was published after %s, but is stored before it", m.name, before.name)
		}
		last[m.publisher] = m
	}
}

// A step is a move of a subscriber from one place to another.
type step struct {
	from, to place
	gap      bool
	event    event
}

// checkTrace checks what one subscriber saw.
func (c *checker) checkTrace(tr *trace) {
	if tr.after != nil {
		c.checkProbe(tr)
	} else if !tr.reached {
		c.add(unreached, "%s to %v; it had %d events, the last is %v", tr.name, tr.filters, len(tr.events), tr.last())
	}
	if len(tr.events) == 0 {
		return
	}
	start, since := c.start(tr), tr.events[0].at
	steps, has := c.walk(tr, start)
	for i, s := range steps {
		if s.gap && !c.justified(s) {
			c.add(falseGap, "%s is told %v, after %v", tr.name, s.event, tr.events[max(0, i-2):i+1])
		}
	}
	for _, m := range c.order {
		if has[m.name] || m.optional || c.disputed[m.name] || len(m.acks) == 0 && len(c.stored[m.name]) == 0 || !tr.matches(m.topic) {
			continue
		}
		id := c.ids[m.name]
		if len(c.stored[m.name]) == 0 {
			id = m.acks[len(m.acks)-1].id
		}
		if id == "" {
			c.add(silentPair, "%s and %s, which is number %d of the log, and which nobody has had", tr.name, m.name, c.stored[m.name])
			continue
		}
		at := c.eras.place(id)
		if start.before(at) || m.began.After(since) {
			c.owed(tr, m, id, at, steps)
		}
	}
}

// checkProbe checks that the id of a message that is gone is not taken for another's.
func (c *checker) checkProbe(tr *trace) {
	if _, removed := c.removed[tr.after.name]; removed || c.disputed[tr.after.name] { // nobody else has its number
		return
	}
	i := slices.IndexFunc(tr.events[1:], func(e event) bool { return e.kind != opened && e.kind != moved })
	switch {
	case i < 0 && !tr.reached:
		c.add(wrongResume, "%s after %s, %s, has no event", tr.name, tr.after.name, tr.events[0].id)
	case len(c.stored[tr.after.name]) == 0 && tr.events[1+i].kind != told:
		c.add(wrongResume, "%s after %s, %s, which is gone, begins with %v", tr.name, tr.after.name, tr.events[0].id, tr.events[1+i])
	}
}

// start returns where a subscriber begins. A message that was acknowledged after a loss, and before
// anybody knew of it, has an id of the old epoch. It resumes where the log has the message.
func (c *checker) start(tr *trace) place {
	id := tr.events[0].id
	if tr.after != nil {
		_, mark, seq := parse(id)
		if _, ofMark, ofSeq := parse(c.ids[tr.after.name]); mark != "" && mark == ofMark && seq == ofSeq {
			id = c.ids[tr.after.name]
		}
	}
	return c.eras.place(id)
}

// walk follows a subscriber from a place, and returns its steps and the names that it has had.
func (c *checker) walk(tr *trace, at place) (steps []step, has map[string]bool) {
	has = map[string]bool{}
	had := map[string]bool{} // ids, and marks without their epochs, each with the name
	for i, e := range tr.events[1:] {
		s := step{at, c.eras.place(e.id), e.kind == told, e}
		at = s.to
		steps = append(steps, s)
		if e.kind == told {
			c.gaps++
		}
		if e.kind != received {
			continue
		}
		c.delivered++
		id := e.id + " " + e.name
		if _, mark, seq := parse(e.id); mark != "" {
			id = fmt.Sprint(mark, "-", seq, " ", e.name)
		}
		switch {
		case had[id]:
			c.add(again, "%s has %v again, after %v", tr.name, e, tr.events[max(0, i-2):i+1])
		case s.to.before(s.from):
			c.add(disorder, "%s has %v after %v", tr.name, e, tr.events[max(0, i-2):i+1])
		}
		had[id], has[e.name] = true, true
		if m := c.messages[e.name]; m == nil || !tr.matches(m.topic) {
			c.add(invented, "%s has %v", tr.name, e)
		}
		if removed, ok := c.removed[e.name]; ok && e.at.After(removed.Add(seconds)) {
			c.add(leaked, "%s has %v, which was removed at %s", tr.name, e, removed.Format("15:04:05.000"))
		}
	}
	return steps, has
}

// justified reports whether a gap may be told: a number is missing there, or something has
// been lost since its epoch began.
func (c *checker) justified(s step) bool {
	if c.lossyBetween(c.eras.since[s.from.epoch], s.event.at) {
		return true
	}
	switch {
	case s.from.epoch != s.to.epoch:
		return false
	case c.lossyBetween(s.event.at, time.Now().Add(time.Hour)): // the log may have used the numbers again
		return c.hadHoles(s.event.at)
	}
	for seq := s.from.seq + 1; seq <= s.to.seq; seq++ {
		if !c.present[seq] {
			return true
		}
	}
	return false
}

// hadHoles reports whether messages were removed before a time, or some could not be sent.
func (c *checker) hadHoles(at time.Time) bool {
	for _, removed := range c.removed {
		if removed.Before(at) {
			return true
		}
	}
	return slices.ContainsFunc(c.order, func(m *message) bool { return m.optional && m.began.Before(at) })
}

// owed checks a message that a subscriber was owed and has not had.
func (c *checker) owed(tr *trace, m *message, id string, at place, steps []step) {
	isStored := len(c.stored[m.name]) > 0
	removed, isRemoved := c.removed[m.name]
	var silently *step
	for i, s := range steps {
		crosses := s.from.before(at) && !s.to.before(at)
		back := s.gap && !s.from.before(s.to) && s.to.before(at) && at.epoch <= s.from.epoch && m.began.Before(s.event.at)
		switch {
		case s.gap && (crosses || back) && isStored:
			c.add(skippedPair, "%s and %s, %s, which is in the log: %v", tr.name, m.name, id, s.event)
			return
		case s.gap && (crosses || back):
			return
		case crosses && silently == nil:
			silently = &steps[i]
		}
	}
	last := c.eras.place(tr.last().id)
	switch {
	case silently == nil && last.before(at): // those that do not get to the end are named elsewhere
		if tr.reached && len(m.acks) > 0 { // what nobody acknowledged may be stored later
			c.add(silentPair, "%s and %s, %s, after its last event", tr.name, m.name, id)
		}
	case isRemoved && (silently == nil || !silently.event.at.Before(removed) && silently.event.at.Before(removed.Add(seconds))):
		// No node had to know it yet.
	case len(m.acks) == 0:
		c.add(passedPair, "%s and %s, %s: %v", tr.name, m.name, id, describe(silently))
	default:
		c.add(silentPair, "%s and %s, %s, stored: %t: %v", tr.name, m.name, id, isStored, describe(silently))
	}
}

func describe(s *step) string {
	if s == nil {
		return "its number was passed before"
	}
	return fmt.Sprint("passed by ", s.event)
}

func (tr *trace) last() event {
	if len(tr.events) == 0 {
		return event{}
	}
	return tr.events[len(tr.events)-1]
}

func (tr *trace) matches(topic string) bool {
	return slices.ContainsFunc(tr.filters, func(f topics.Filter) bool { return f.Match(topic) })
}

// sortedBy returns the keys of m in the order of their values.
func sortedBy[K cmp.Ordered, V any](m map[K]V, compare func(a, b V) int) []K {
	return slices.SortedFunc(maps.Keys(m), func(a, b K) int { return cmp.Or(compare(m[a], m[b]), cmp.Compare(a, b)) })
}
