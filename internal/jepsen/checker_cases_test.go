//go:build unix

package jepsen_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"example.com/tidings/topics"
)

// A story makes a history by hand. Each event is a second after the one before.
type story struct {
	*history
	now time.Time
}

func newStory() *story {
	return &story{newHistory(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

func (s *story) tick() time.Time {
	s.now = s.now.Add(time.Second)
	return s.now
}

func (s *story) wait(d time.Duration) { s.now = s.now.Add(d) }

// publish begins a message. ids are those of its acknowledgements.
func (s *story) publish(name, topic string, ids ...string) *message {
	m := &message{name: name, topic: topic, data: name, publisher: "p"}
	s.begin(m, s.tick())
	if len(ids) == 0 {
		s.unknown(m)
	}
	for _, id := range ids {
		s.ack(m, id, s.tick())
	}
	return m
}

// stored says what the log holds at the end, from a number on. "" is a missing number.
func (s *story) stored(first uint64, names ...string) {
	for i, name := range names {
		if name != "" {
			s.log = append(s.log, record{seq: first + uint64(i), name: name})
		}
	}
}

func (s *story) fault(lossy bool) {
	at := s.tick()
	s.faults = append(s.faults, &fault{name: "a fault", at: at, healed: s.tick(), lossy: lossy})
}

// subscribe begins a trace that gets to the end.
func (s *story) subscribe(filter, id string) *teller {
	tr := &trace{name: fmt.Sprint("s", len(s.traces)), filters: topics.MustFilters(filter), reached: true}
	s.traces = append(s.traces, tr)
	t := &teller{s, tr}
	t.tell(event{kind: opened, id: id})
	return t
}

// A teller adds events to a trace.
type teller struct {
	s  *story
	tr *trace
}

func (t *teller) tell(e event) *teller {
	e.at = t.s.tick()
	t.tr.events = append(t.tr.events, e)
	return t
}

func (t *teller) gets(id, name string) *teller {
	return t.tell(event{kind: received, id: id, name: name})
}
func (t *teller) gap(id string) *teller   { return t.tell(event{kind: told, id: id, reason: "lost"}) }
func (t *teller) moves(id string) *teller { return t.tell(event{kind: moved, id: id}) }

// Each history has what its name says, and the checker finds that and nothing else.
func TestChecker(t *testing.T) {
	for _, tt := range []struct {
		name string
		want map[string]int
		tell func(s *story)
	}{
		{"nothing happens", nil, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			s.publish("b", "u.1", "e-2")
			s.publish("c", "t.1", "e-3")
			sub.gets("e-1", "a").moves("e-2").gets("e-3", "c")
			s.stored(1, "a", "b", "c")
		}},
		{"a message is older than the subscriber", nil, func(s *story) {
			s.publish("a", "t.1", "e-1")
			s.publish("b", "t.1", "e-2")
			s.subscribe("t.*", "e-1").gets("e-2", "b")
			s.stored(1, "a", "b")
		}},
		{"a stored message is passed over", map[string]int{silentPair: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			s.publish("b", "t.1", "e-2")
			sub.gets("e-2", "b")
			s.stored(1, "a", "b")
		}},
		{"a keep-alive passes over a message", map[string]int{silentPair: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			sub.moves("e-1")
			s.stored(1, "a")
		}},
		{"a resumed stream opens too late", map[string]int{silentPair: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			sub.tell(event{kind: opened, id: "e-1"})
			s.stored(1, "a")
		}},
		{"the last message does not come", map[string]int{silentPair: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			s.publish("b", "t.1", "e-2")
			sub.gets("e-1", "a")
			s.stored(1, "a", "b")
		}},
		{"a subscriber does not get to the end", map[string]int{unreached: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			s.publish("b", "t.1", "e-2")
			sub.gets("e-1", "a").tr.reached = false
			s.subscribe("t.*", "e-0").gets("e-1", "a").gets("e-2", "b")
			s.stored(1, "a", "b")
		}},
		{"an unacknowledged message is passed over", map[string]int{passedPair: 1}, func(s *story) {
			subs := []*teller{s.subscribe("t.*", "e-0"), s.subscribe("t.*", "e-0")}
			s.publish("a", "t.1")
			s.publish("b", "t.1", "e-2")
			subs[0].gets("e-1", "a").gets("e-2", "b")
			subs[1].gets("e-2", "b")
			s.stored(1, "a", "b")
		}},
		{"a stored message reaches nobody", map[string]int{silentPair: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1")
			s.publish("b", "t.1", "e-2")
			sub.gets("e-2", "b")
			s.stored(1, "a", "b")
		}},
		{"an unacknowledged message is lost", nil, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1")
			s.publish("b", "t.1", "e-1")
			sub.gets("e-1", "b")
			s.stored(1, "b")
		}},
		{"the end is lost, and told", nil, lostEnd(true, true, "f")},
		{"the end is lost, and told after what is left", nil, func(s *story) {
			subs := []*teller{s.subscribe("t.*", "e-0"), s.subscribe("t.*", "e-0")}
			s.publish("a", "t.1", "e-1")
			s.publish("b", "t.1", "e-2")
			s.publish("c", "t.1", "e-3")
			s.fault(true)
			s.publish("d", "t.1", "f-3")
			subs[0].gets("e-1", "a").gets("e-2", "b").gets("e-3", "c").gap("e-2").gets("f-3", "d")
			subs[1].gets("e-1", "a").gets("e-2", "b").gap("e-2").gets("f-3", "d")
			s.stored(1, "a", "b", "d")
		}},
		{"the end is lost, and only some are told", map[string]int{silentPair: 2}, lostEnd(true, false, "f")},
		{"the end is lost, and its numbers are used again", map[string]int{silentPair: 4, twoNames: 2}, lostEnd(false, false, "e")},
		{"a subscriber jumps over what is in the log", map[string]int{skippedPair: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			sub.gets("e-1", "a")
			s.fault(true)
			s.publish("b", "t.1", "f-1")
			s.publish("c", "t.1", "f-2")
			sub.gap("f-1").gets("f-2", "c")
			s.stored(1, "b", "c")
		}},
		{"a number that is passed already has a new message", map[string]int{silentPair: 1, twoNames: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			s.publish("b", "t.1", "e-2")
			sub.gets("e-1", "a").gets("e-2", "b")
			s.fault(true)
			s.publish("c", "t.1", "e-2")
			s.publish("d", "t.1", "e-3")
			sub.gets("e-3", "d")
			s.stored(1, "a", "c", "d")
		}},
		{"a gap is told, and nothing is gone", map[string]int{falseGap: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			s.publish("b", "t.1", "e-2")
			s.fault(false)
			sub.gets("e-1", "a").gap("e-1").gets("e-2", "b")
			s.stored(1, "a", "b")
		}},
		{"a false gap jumps over a message", map[string]int{falseGap: 1, skippedPair: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			s.publish("b", "t.1", "e-2")
			sub.gap("e-1").gets("e-2", "b")
			s.stored(1, "a", "b")
		}},
		{"a false gap does not excuse what is passed over later", map[string]int{falseGap: 1, silentPair: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			sub.gets("e-1", "a").gap("e-1")
			s.publish("b", "t.1", "e-2")
			s.publish("c", "t.1", "e-3")
			sub.gets("e-3", "c")
			s.stored(1, "a", "b", "c")
		}},
		{"a gap is told in an epoch that began after the loss", map[string]int{falseGap: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			sub.gets("e-1", "a")
			s.fault(true)
			s.publish("b", "t.1", "f-1")
			s.publish("c", "t.1", "f-2")
			sub.gap("f-0").gets("f-1", "b").gap("f-1").gets("f-2", "c")
			s.stored(1, "b", "c")
		}},
		{"a removed message is told", nil, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			s.publish("b", "t.1", "e-2")
			s.removed["a"] = s.tick()
			s.wait(time.Minute)
			sub.gap("e-1").gets("e-2", "b")
			s.stored(1, "", "b")
		}},
		{"a removed message is told, and then everything is lost", nil, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			s.publish("b", "t.1", "e-2")
			s.removed["a"] = s.tick()
			sub.gap("e-1").gets("e-2", "b")
			s.fault(true)
			s.publish("c", "t.1", "f-1")
			sub.gap("f-0").gets("f-1", "c")
			s.stored(1, "c")
		}},
		{"a gap is told, and nothing is gone until later", map[string]int{falseGap: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			sub.gets("e-1", "a").gap("e-1")
			s.fault(true)
			s.publish("c", "t.1", "f-1")
			sub.gap("f-0").gets("f-1", "c")
			s.stored(1, "c")
		}},
		{"a removed message is passed over at once", nil, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			s.publish("b", "t.1", "e-2")
			s.removed["a"] = s.tick()
			sub.gets("e-2", "b")
			s.stored(1, "", "b")
		}},
		{"a removed message is passed over", map[string]int{silentPair: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			s.publish("b", "t.1", "e-2")
			s.removed["a"] = s.tick()
			s.wait(time.Minute)
			sub.gets("e-2", "b")
			s.stored(1, "", "b")
		}},
		{"a message is passed over before it is removed", map[string]int{silentPair: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			s.publish("b", "t.1", "e-2")
			sub.gets("e-2", "b")
			s.removed["a"] = s.tick()
			s.stored(1, "", "b")
		}},
		{"a removed message is delivered", map[string]int{leaked: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			s.removed["a"] = s.tick()
			s.wait(time.Minute)
			sub.gets("e-1", "a")
		}},
		{"an id comes again", map[string]int{again: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			sub.gets("e-1", "a").tell(event{kind: opened, id: "e-0"}).gets("e-1", "a")
			s.stored(1, "a")
		}},
		{"a message is stored twice", map[string]int{storedTwice: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-2")
			sub.gets("e-1", "a").gets("e-2", "a")
			s.stored(1, "a", "a")
		}},
		{"a lost message is stored again", nil, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			m := s.publish("a", "t.1", "e-1")
			s.fault(true)
			s.ack(m, "f-1", s.tick())
			sub.gets("e-1", "a").gap("e-0").gets("f-1", "a")
			s.stored(1, "a")
		}},
		{"an acknowledgement has the old epoch", map[string]int{wrongID: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			s.fault(true)
			s.publish("b", "t.1", "e-1000")
			sub.gets("e-1", "a").gap("f-999").gets("f-1000", "b")
			s.stored(1000, "b")
		}},
		{"an acknowledgement has the old epoch, and a mark", nil, func(s *story) {
			sub := s.subscribe("t.*", "eeeeeeeeeeee-0")
			s.publish("a", "t.1", "eeeeeeeeeeeemark1-1")
			s.fault(true)
			s.publish("b", "t.1", "eeeeeeeeeeeemark2-1")
			sub.gets("eeeeeeeeeeeemark1-1", "a").gap("ffffffffffff-0").gets("ffffffffffffmark2-1", "b")
			s.stored(1, "b")
		}},
		{"an acknowledgement has another mark", map[string]int{wrongID: 1}, func(s *story) {
			sub := s.subscribe("t.*", "eeeeeeeeeeee-0")
			s.publish("a", "t.1", "eeeeeeeeeeeemark1-1")
			sub.gets("eeeeeeeeeeeemark2-1", "a")
			s.stored(1, "a")
		}},
		{"a message comes again with another epoch", map[string]int{again: 1}, func(s *story) {
			sub := s.subscribe("t.*", "eeeeeeeeeeee-0")
			s.publish("a", "t.1", "eeeeeeeeeeeemark1-1")
			s.fault(true)
			sub.gets("eeeeeeeeeeeemark1-1", "a").gap("ffffffffffff-0").gets("ffffffffffffmark1-1", "a")
			s.stored(1, "a")
		}},
		{"an acknowledgement has another number", map[string]int{wrongID: 1}, func(s *story) {
			s.publish("a", "t.1", "e-2")
			s.subscribe("t.*", "e-0").gets("e-1", "a")
			s.stored(1, "a")
		}},
		{"messages change their places", map[string]int{disorder: 2}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-2")
			s.publish("b", "t.1", "e-1")
			sub.gets("e-2", "a").gets("e-1", "b")
			s.stored(1, "b", "a")
		}},
		{"a refused message is stored", map[string]int{refusedFirst: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			m := s.publish("a", "t.1")
			m.refused = true
			sub.gets("e-1", "a")
			s.stored(1, "a")
		}},
		{"an id of what is gone resumes as another's", map[string]int{wrongResume: 1, twoNames: 1}, func(s *story) {
			m := s.publish("a", "t.1", "e-1")
			s.fault(true)
			s.publish("b", "t.1", "e-1")
			s.publish("c", "t.1", "e-2")
			s.subscribe("t.*", "e-1").gets("e-2", "c").tr.after = m
			s.stored(1, "b", "c")
		}},
		{"an id of what is gone is told", nil, func(s *story) {
			m := s.publish("a", "t.1", "e-1")
			s.fault(true)
			s.publish("b", "t.1", "f-1")
			probe := s.subscribe("t.*", "e-1").tell(event{kind: opened, id: "e-1"}).gap("f-0").gets("f-1", "b")
			probe.tr.after, probe.tr.reached = m, false
			s.stored(1, "b")
		}},
		{"an id resumes nothing", map[string]int{wrongResume: 1}, func(s *story) {
			m := s.publish("a", "t.1", "e-1")
			probe := s.subscribe("t.*", "e-1").tell(event{kind: opened, id: "e-1"})
			probe.tr.after, probe.tr.reached = m, false
			s.stored(1, "a")
		}},
		{"an event was not published", map[string]int{invented: 1}, func(s *story) {
			s.subscribe("t.*", "e-0").gets("e-1", "unknown")
		}},
		{"an event does not match", map[string]int{invented: 1}, func(s *story) {
			s.publish("a", "u.1", "e-1")
			s.subscribe("t.*", "e-0").gets("e-1", "a")
			s.stored(1, "a")
		}},
		{"an acknowledged message is lost without a reason", map[string]int{lostMessage: 1}, func(s *story) {
			sub := s.subscribe("t.*", "e-0")
			s.publish("a", "t.1", "e-1")
			s.fault(false)
			sub.gap("e-1")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStory()
			tt.tell(s)
			v := check(s.history)
			got := map[string]int{}
			for what, cases := range v.found {
				got[what] = len(cases)
			}
			if !maps.Equal(got, tt.want) {
				t.Errorf("%s, want %v\n%q", v.summary(), tt.want, slices.Collect(maps.Values(v.found)))
			}
		})
	}
}

// Two messages lose their numbers to two others, which are acknowledged before
// anybody knows that, so under the old epoch. The second one's id resumes after it, and another one
// with its number does not.
func TestProbeOfANewLine(t *testing.T) {
	for id, silent := range map[string]int{"000000000001bbbbbb-2": 0, "000000000001cccccc-2": 2} {
		s := newStory()
		s.publish("a", "t.1", "000000000001aaaaaa-1")
		s.fault(true)
		s.publish("b", "t.1", "000000000001dddddd-1")
		c := s.publish("c", "t.1", id)
		late := s.subscribe("t.*", "000000000001-0").gets("000000000001aaaaaa-1", "a").gap("000000000002-0")
		late.gets("000000000002dddddd-1", "b").gets("000000000002bbbbbb-2", "c")
		s.stored(1, "b", "c")
		probe := s.subscribe("t.*", id)
		probe.tr.after = c
		probe.moves("000000000002-2")
		if v := check(s.history); len(v.found[silentPair]) != silent {
			t.Errorf("after %s: %s\n%q", id, v.summary(), v.found)
		}
	}
}

// Two replicas differ in the middle, and at the end. Only what is in the middle is in dispute.
func TestDisputed(t *testing.T) {
	log := func(names ...string) (all []record) {
		for i, name := range names {
			all = append(all, record{seq: uint64(i + 1), name: name})
		}
		return all
	}
	a, b := log("a", "b", "c", "d", "e", "f"), log("a", "x", "c", "y", "z")
	if got := disputed(a, b); !slices.Equal(got, []string{"b", "x"}) {
		t.Errorf("in dispute are %q", got)
	}
	if got := disputed(a, a[:3]); len(got) > 0 {
		t.Errorf("in dispute are %q, and one is only behind", got)
	}
	s := newStory()
	sub := s.subscribe("t.*", "e-0")
	s.publish("a", "t.1", "e-1")
	s.publish("x", "t.1", "e-1")
	s.publish("b", "t.1", "e-2")
	sub.gets("e-2", "b")
	s.stored(1, "a", "b")
	s.disputed["a"], s.disputed["x"] = true, true
	if v := check(s.history); len(v.found[silentPair]) > 0 {
		t.Errorf("%s\n%q", v.summary(), v.found)
	}
}

// lostEnd returns a history in which the messages c and d are lost. Then e and f get their
// numbers, in an epoch. One subscriber has had c and d, and one has not.
func lostEnd(tellFirst, tellSecond bool, epoch string) func(s *story) {
	return func(s *story) {
		first, second := s.subscribe("t.*", "e-0"), s.subscribe("t.*", "e-0")
		s.publish("a", "t.1", "e-1")
		s.publish("b", "t.1", "e-2")
		s.publish("c", "t.1", "e-3")
		s.publish("d", "t.1", "e-4")
		first.gets("e-1", "a").gets("e-2", "b").gets("e-3", "c").gets("e-4", "d")
		second.gets("e-1", "a").gets("e-2", "b")
		s.fault(true)
		s.publish("e", "t.1", epoch+"-3")
		s.publish("f", "t.1", epoch+"-4")
		s.stored(1, "a", "b", "e", "f")
		if tellFirst {
			first.gap("e-2")
		}
		if tellSecond {
			second.gap("e-2")
		}
		if epoch == "f" {
			first.gets("f-3", "e").gets("f-4", "f")
		}
		second.gets(epoch+"-3", "e").gets(epoch+"-4", "f")
	}
}
