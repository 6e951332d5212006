//go:build unix

package jepsen_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/tidings/topics"
)

// A history is what the clients of a schedule saw, and what the log holds at the end.
type history struct {
	mu       sync.Mutex
	messages map[string]*message // by name
	order    []*message          // as the publishers began them

	traces  []*trace
	log     []record             // from the servers, when all is over
	faults  []*fault             // in the order of their times
	removed map[string]time.Time // by name: when the removal of a message began

	// disputed has the names of messages that share a number, on two replicas that are the same
	// after it. NATS has left them so, and no reader can know which one is the stream's.
	disputed map[string]bool
}

func newHistory() *history {
	return &history{messages: map[string]*message{}, removed: map[string]time.Time{}, disputed: map[string]bool{}}
}

// A message is one that a publisher sends, until it has an answer.
type message struct {
	name      string // begins the data, and is unique
	publisher string
	topic     string
	typ       string
	data      string
	key       string

	// optional is set if nobody says whether streams have the message.
	optional bool

	// The history's lock protects these.
	began   time.Time // the first attempt
	acks    []ack
	refused bool // every attempt had an answer that says that nothing was stored
}

// An ack is an answer that names a message.
type ack struct {
	id string
	at time.Time
}

// A record is a message in the log at the end.
type record struct {
	seq  uint64
	name string // "" for what no publisher has sent
	bad  bool   // it cannot be sent as an event
}

// disputed returns the names at the numbers at which two logs differ, up to the last number at which
// they are the same.
func disputed(a, b []record) (names []string) {
	bySeq := map[uint64]record{}
	for _, r := range b {
		bySeq[r.seq] = r
	}
	same := false
	for _, r := range slices.Backward(a) {
		switch other, ok := bySeq[r.seq]; {
		case ok && other == r:
			same = true
		case ok && same:
			names = append(names, r.name, other.name)
		}
	}
	return names
}

// A trace is what one subscriber saw, over all its connections.
type trace struct {
	name    string
	filters []topics.Filter
	events  []event
	reached bool // it has had the last message

	// after, if not nil, is the acknowledged message with whose id a probe resumes, when all
	// is over. A probe may end before the last message.
	after *message
}

type kind int

const (
	opened   kind = iota // the first event of a connection
	received             // a message
	told                 // a gap
	moved                // a keep-alive with a position, or an end
)

func (k kind) String() string { return [...]string{"open", "message", "gap", "position"}[k] }

// An event is one event of a stream.
type event struct {
	kind       kind
	id         string
	name       string // of a message
	reason     string // of a gap
	at         time.Time
	node       int
	connection int
}

func (e event) String() string {
	return fmt.Sprintf("%s %s %s%s (%s, node %d, connection %d)", e.kind, e.id, e.name, e.reason, e.at.Format("15:04:05.000"), e.node, e.connection)
}

// A fault is what the schedule did to the servers, the nodes or their links.
type fault struct {
	name   string
	at     time.Time
	healed time.Time

	// lossy is set if acknowledged messages may be gone. Only then may streams have gaps
	// for them.
	lossy bool
}

// begin notes a message whose first attempt begins now.
func (h *history) begin(m *message, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m.began, m.refused = now, true
	h.messages[m.name] = m
	h.order = append(h.order, m)
}

// ack notes an answer that names a message.
func (h *history) ack(m *message, id string, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m.acks, m.refused = append(m.acks, ack{id, now}), false
}

// unknown notes that an attempt had no answer, or one that leaves open what was stored.
func (h *history) unknown(m *message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m.refused = false
}

// identify returns the name of the message that a publisher sent with this data. If none of
// this name has this data, type and topic, the name says so. topic may be "", for unknown.
func (h *history) identify(topic, typ, data string) string {
	name, _, _ := strings.Cut(data, " ")
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.messages[name]
	if m != nil && m.optional {
		return name
	}
	if m == nil || m.data != data || m.typ != typ || topic != "" && m.topic != topic {
		return fmt.Sprintf("unknown: %.40q of type %q on topic %q", data, typ, topic)
	}
	return name
}

// A place is a position in the order of all epochs.
type place struct {
	epoch int // in the order in which clients saw them first
	seq   uint64
}

func (p place) before(q place) bool {
	return p.epoch < q.epoch || p.epoch == q.epoch && p.seq < q.seq
}

// epochLen is the length of an epoch. A mark of the record may follow it.
const epochLen = 12

// parse returns the parts of an id.
func parse(id string) (epoch, mark string, seq uint64) {
	epoch, digits, _ := strings.Cut(id, "-")
	if len(epoch) > epochLen {
		epoch, mark = epoch[:epochLen], epoch[epochLen:]
	}
	seq, _ = strconv.ParseUint(digits, 10, 64)
	return epoch, mark, seq
}

// An eras has the epochs of a history.
type eras struct {
	index map[string]int
	since []time.Time // when a client saw each first
}

// erasOf finds the epochs of a history.
func erasOf(h *history) eras {
	first := map[string]time.Time{}
	see := func(id string, at time.Time) {
		epoch, _, _ := parse(id)
		if t, ok := first[epoch]; !ok || at.Before(t) {
			first[epoch] = at
		}
	}
	for _, m := range h.order {
		for _, a := range m.acks {
			see(a.id, a.at)
		}
	}
	for _, tr := range h.traces {
		for _, e := range tr.events {
			see(e.id, e.at)
		}
	}
	e := eras{index: map[string]int{}}
	for _, epoch := range sortedBy(first, time.Time.Compare) {
		e.index[epoch] = len(e.since)
		e.since = append(e.since, first[epoch])
	}
	return e
}

func (e eras) place(id string) place {
	epoch, _, seq := parse(id)
	return place{e.index[epoch], seq}
}

// knows reports whether a publisher has begun a message of this name.
func (h *history) knows(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.messages[name] != nil
}
