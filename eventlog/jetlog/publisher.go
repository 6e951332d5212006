package jetlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"example.com/tidings/eventlog"
)

// A publisher sends messages to a stream over one connection, and receives the
// acknowledgements. Many messages can be in flight, because JetStream stores the messages
// of one connection in their order.
type publisher struct {
	nc     *nats.Conn
	names  naming
	head   *head
	prefix string // of the subjects that receive acknowledgements
	sub    *nats.Subscription
	reused func() // if not nil, called when JetStream assigns a number again

	// A message takes a slot, and one more for each slotBytes. JetStream refuses messages
	// while 10,000 of them, or 128 MiB, are in flight.
	slots chan struct{}
	large sync.Mutex // held while a message takes several slots

	mu      sync.Mutex
	pending map[uint64]pending
	serial  uint64
	broken  error // set once; after that, no message is in flight
}

const (
	maxSlots  = 2048
	slotBytes = 16 << 10
)

type pending struct {
	group *group
	index int
	slots int
	head  uint64 // the head when the message was sent
}

// A group is the messages of one call.
type group struct {
	mu      sync.Mutex
	results []ack // neither error nor number while the message is in flight
	left    int
	done    chan struct{} // gets one value when left becomes 0
}

// An ack is JetStream's answer to one message.
type ack struct {
	seq    uint64
	repeat bool
	err    error
}

var groups = sync.Pool{New: func() any { return &group{done: make(chan struct{}, 1)} }}

// newPublisher returns a publisher. If reused is not nil, the subscription calls it, from a
// goroutine of its own.
func newPublisher(nc *nats.Conn, names naming, h *head, reused func()) (*publisher, error) {
	p := &publisher{
		nc: nc, names: names, head: h, reused: reused,
		prefix:  nc.NewInbox() + ".",
		slots:   make(chan struct{}, maxSlots),
		pending: map[uint64]pending{},
	}
	var err error
	if p.sub, err = nc.Subscribe(p.prefix+"*", p.acknowledged); err != nil {
		return nil, err
	}
	return p, p.sub.SetPendingLimits(-1, -1)
}

// newGroup returns a group of n messages.
func newGroup(n int) *group {
	g := groups.Get().(*group)
	g.results = append(g.results[:0], make([]ack, n)...)
	g.left = n
	return g
}

// send sends message i of a group. The group gets the result. If send returns an error, the
// group has it too. The caller must then send no more messages of the group: JetStream
// would store them without this one before them.
func (p *publisher) send(ctx context.Context, g *group, i int, m eventlog.Message) error {
	n := min(1+len(m.Data)/slotBytes, maxSlots)
	if err := p.acquire(ctx, n); err != nil {
		g.set(i, ack{err: err})
		return err
	}
	p.mu.Lock()
	if p.broken != nil {
		p.mu.Unlock()
		p.release(n)
		g.set(i, ack{err: p.broken})
		return p.broken
	}
	p.serial++
	id := p.serial
	p.pending[id] = pending{g, i, n, p.head.seq.Load()}
	p.mu.Unlock()

	var err error
	reply := strconv.AppendUint([]byte(p.prefix), id, 36)
	if m.Type == "" && m.Key == "" {
		err = p.nc.PublishRequest(p.names.subject(m.Topic), string(reply), []byte(m.Data))
	} else {
		msg := &nats.Msg{Subject: p.names.subject(m.Topic), Reply: string(reply), Data: []byte(m.Data), Header: header(m)}
		err = p.nc.PublishMsg(msg)
	}
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		p.settle(id, ack{err: eventlog.ErrTooLarge})
	case err != nil:
		err = fmt.Errorf("jetlog: %w", err)
		p.settle(id, ack{err: err})
		return err
	}
	return nil
}

func header(m eventlog.Message) nats.Header {
	h := make(nats.Header, 2)
	if m.Type != "" {
		h[typeHeader] = []string{encodeType(m.Type)}
	}
	if m.Key != "" {
		h[idHeader] = []string{messageID(m.Topic, m.Key)}
	}
	return h
}

func (p *publisher) acquire(ctx context.Context, n int) error {
	if n > 1 {
		p.large.Lock()
		defer p.large.Unlock()
	}
	for i := range n {
		select {
		case p.slots <- struct{}{}:
			continue
		default:
		}
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			p.release(i)
			return ctx.Err()
		}
	}
	return nil
}

func (p *publisher) release(n int) {
	for range n {
		<-p.slots
	}
}

// acknowledged handles one acknowledgement. The subscription makes one call at a time.
func (p *publisher) acknowledged(m *nats.Msg) {
	id, err := strconv.ParseUint(m.Subject[len(p.prefix):], 36, 64)
	if err != nil {
		return
	}
	a := parseAck(m)
	if a.err == nil && !a.repeat {
		p.mu.Lock()
		d, ok := p.pending[id]
		p.mu.Unlock()
		if ok && a.seq <= d.head && p.reused != nil {
			p.reused()
		}
		p.head.advance(a.seq)
	}
	p.settle(id, a)
}

// parseAck parses {"stream":"tidings","seq":42,"duplicate":true}, or an error.
func parseAck(m *nats.Msg) ack {
	if m.Header.Get("Status") == statusNoResponder {
		return ack{err: errNoStream}
	}
	if !bytes.Contains(m.Data, []byte(`"error":`)) {
		if _, rest, ok := bytes.Cut(m.Data, []byte(`"seq":`)); ok {
			rest = bytes.TrimLeft(rest, " ")
			end := bytes.IndexFunc(rest, func(c rune) bool { return c < '0' || c > '9' })
			if seq, err := strconv.ParseUint(string(rest[:max(end, 0)]), 10, 64); err == nil && seq > 0 {
				return ack{seq: seq, repeat: bytes.Contains(rest, []byte(`"duplicate": true`)) || bytes.Contains(rest, []byte(`"duplicate":true`))}
			}
		}
	}
	var answer struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err == nil && answer.Error != nil {
		return ack{err: answer.Error}
	}
	return ack{err: fmt.Errorf("jetlog: invalid answer from JetStream: %.100q", m.Data)}
}

// settle gives a message its result. Only the first call for a message has an effect.
func (p *publisher) settle(id uint64, a ack) {
	p.mu.Lock()
	d, ok := p.pending[id]
	delete(p.pending, id)
	p.mu.Unlock()
	if ok {
		p.release(d.slots)
		d.group.set(d.index, a)
	}
}

// fail gives an error to all messages in flight, and to all later ones.
func (p *publisher) fail(err error) {
	p.mu.Lock()
	if p.broken == nil {
		p.broken = err
	}
	p.mu.Unlock()
	p.lost(err)
}

// lost gives an error to all messages in flight.
func (p *publisher) lost(err error) {
	p.mu.Lock()
	all := p.pending
	p.pending = map[uint64]pending{}
	p.mu.Unlock()
	for _, d := range all {
		p.release(d.slots)
		d.group.set(d.index, ack{err: err})
	}
}

func (g *group) set(i int, a ack) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.results[i] = a
	if g.left--; g.left == 0 {
		g.done <- struct{}{}
	}
}

// wait waits until all messages of a group have a result. When ctx is done, or after
// requestTimeout, the messages without a result get an error.
func (p *publisher) wait(ctx context.Context, g *group) []ack {
	t := time.NewTimer(requestTimeout)
	defer t.Stop()
	var err error
	select {
	case <-g.done:
		results := slices.Clone(g.results)
		groups.Put(g)
		return results
	case <-ctx.Done():
		// A late acknowledgement frees the slots of its message.
		time.AfterFunc(requestTimeout, func() { p.abandon(g) })
		err = ctx.Err()
	case <-t.C:
		p.abandon(g)
		err = errNoAnswer
	}
	// Late results still go to g, so g is not reused.
	g.mu.Lock()
	defer g.mu.Unlock()
	results := slices.Clone(g.results)
	for i, r := range results {
		if r.err == nil && r.seq == 0 {
			results[i].err = err
		}
	}
	return results
}

// abandon gives errNoAnswer to the messages of a group that are in flight.
func (p *publisher) abandon(g *group) {
	var ids []uint64
	p.mu.Lock()
	for id, d := range p.pending {
		if d.group == g {
			ids = append(ids, id)
		}
	}
	p.mu.Unlock()
	for _, id := range ids {
		p.settle(id, ack{err: errNoAnswer})
	}
}

// errNoAnswer means that JetStream has not said whether it stored a message.
var errNoAnswer = fmt.Errorf("jetlog: JetStream has not acknowledged the message within %v: %w", requestTimeout, context.DeadlineExceeded)

func (p *publisher) close() { _ = p.sub.Unsubscribe() }
