//go:build unix

package soak_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/sse"
)

// A subscriber is a client that reconnects again and again with its last id. It keeps
// every message, even one that comes twice.
type subscriber struct {
	name     string
	filters  []string
	from     string // for the first connection; "" means the default
	envelope bool
	plan     []message
	r        *rand.Rand
	addr     func() string // the server's address
	refusals bool          // the server may be away or refuse a stream

	// life returns after how many messages or how much time the next connection
	// ends. A negative value means no bound. 0 messages means right after
	// tidings.open.
	life func(connection int) (messages int, lasts time.Duration)

	// pause returns the time until the next connection.
	pause func() time.Duration

	// Other goroutines may read these at any time.
	opened atomic.Bool   // it has had a tidings.open
	at     atomic.Uint64 // the sequence number of its last id
	last   atomic.Uint64 // the sequence number of its last message

	// Other goroutines may read these after run has returned.
	start       uint64 // the sequence number in its first tidings.open
	got         []receipt
	connections []connection
	lastID      string
	toldEnds    int // streams that the server ended, and said why
	brokenEnds  int // streams that broke without a word
}

// A receipt is a received message.
type receipt struct {
	n          int
	seq        uint64
	id         string
	connection int
}

// A connection has the facts about one connection, for a failure.
type connection struct {
	sent, opened string // ids
	messages     int
	end          string
	buffer       int // the receive buffer that was requested
	since        time.Time
	lasted       time.Duration
}

func (c connection) String() string {
	return fmt.Sprintf("began at %s, lasted %v, sent %q, opened at %q, had %d messages, a buffer of %d, ended by %s",
		c.since.Format(time.TimeOnly), c.lasted, c.sent, c.opened, c.messages, c.buffer, c.end)
}

// run subscribes until ctx is done. An error is a fault of the server.
func (s *subscriber) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := s.connect(ctx); err != nil {
			return fmt.Errorf("subscriber %s to %q, connection %d: %w", s.name, s.filters, len(s.connections), err)
		}
		sleep(ctx, s.pause())
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// connect subscribes once.
func (s *subscriber) connect(ctx context.Context) error {
	query := url.Values{"topic": s.filters}
	if s.envelope {
		query.Set("format", "envelope")
	}
	if s.from != "" {
		query.Set("from", s.from)
	}
	header := s.lastID
	if s.lastID != "" && s.r.IntN(4) == 0 { // like a client that cannot send the header
		query.Del("from")
		query.Set("lastEventId", s.lastID)
		header = ""
	}
	buffer := 0
	if s.r.IntN(4) == 0 {
		buffer = 32 << 10
	}
	st, err := dial(ctx, s.addr(), query, header, buffer)
	if _, refused := errors.AsType[*statusError](err); refused {
		return err
	}
	if err != nil { // the server is away for now
		if !s.refusals && ctx.Err() == nil {
			return err
		}
		sleep(ctx, 20*time.Millisecond)
		return nil
	}
	end := st.close
	if s.r.IntN(2) == 0 {
		end = st.cut
	}
	messages, lasts := s.life(len(s.connections))
	var leaving atomic.Bool
	leave := func() { leaving.Store(true); end() }
	defer leave()
	defer context.AfterFunc(ctx, leave)()
	if lasts >= 0 {
		defer time.AfterFunc(lasts, leave).Stop()
	}

	c := connection{sent: s.lastID, buffer: buffer, since: time.Now()}
	defer func() { c.lasted = time.Since(c.since); s.connections = append(s.connections, c) }()
	err = s.read(st, messages, &c)
	switch {
	case leaving.Load() || errors.Is(err, errEnough):
		c.end, err = "itself", nil
	case errors.Is(err, errRefused) && s.refusals:
		c.end, err = "a refusal", nil
	case errors.Is(err, errStopped):
		s.toldEnds++
		c.end, err = "the server", nil
	case isBroken(err):
		s.brokenEnds++
		c.end, err = err.Error(), nil
	}
	// On a slow machine, the server may take a client for a stalled one and cut it.
	if err == nil && c.end == "the server" && !s.refusals {
		err = fmt.Errorf("the server has ended the stream: %v", c)
	}
	return err
}

// errEnough ends a connection that has received enough messages.
var errEnough = errors.New("enough")

// errRefused is the end of a stream whose client was told to come back later.
var errRefused = errors.New("refused for now")

// errStopped is the end of a stream of a server that stops.
var errStopped = errors.New("the server stops")

// A brokenError is the error of reading a broken connection.
type brokenError struct{ error }

func (e brokenError) Unwrap() error { return e.error }

func isBroken(err error) bool {
	_, ok := errors.AsType[brokenError](err)
	return ok
}

// read takes the events of a connection, and returns why it ends: errEnough after enough
// messages, errRefused or errStopped if the server says so, a brokenError after any other end,
// or the fault of an event. A response that is complete is a fault.
func (s *subscriber) read(st *stream, messages int, c *connection) error {
	for {
		if messages >= 0 && c.opened != "" && c.messages >= messages {
			return errEnough
		}
		ev, err := st.next()
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("the response is complete; %v", c)
		case err != nil:
			return brokenError{err}
		case ev.Type == hub.UnavailableEventType && c.opened == "":
			return errRefused
		case ev.Type == hub.EndEventType:
			return s.takeEnd(ev, st)
		case c.opened == "":
			err = s.takeOpen(ev, c)
		case ev.Type == sse.GapEventType:
			err = fmt.Errorf("there is a gap, %s, after %s; %v", ev.Data, s.lastID, c)
		case ev.Type == hub.PositionEventType:
			err = s.takePosition(ev)
		default:
			err = s.takeMessage(ev, c)
		}
		if err != nil {
			return err
		}
		s.lastID = ev.ID
		seq, err := sequence(ev.ID)
		if err != nil {
			return err
		}
		s.at.Store(seq)
	}
}

// takeOpen takes the first event of a connection.
func (s *subscriber) takeOpen(ev sse.Event, c *connection) error {
	if ev.Type != hub.OpenEventType {
		return fmt.Errorf("the stream begins with %+v", ev)
	}
	c.opened = ev.ID
	var data struct{ Position string }
	if err := json.Unmarshal([]byte(ev.Data), &data); err != nil || data.Position != ev.ID {
		return fmt.Errorf("tidings.open has the id %q and the data %s (%v)", ev.ID, ev.Data, err)
	}
	if s.opened.Load() {
		if ev.ID != s.lastID {
			return fmt.Errorf("resumed with %q, but tidings.open says %q", s.lastID, ev.ID)
		}
		return nil
	}
	var err error
	if s.start, err = sequence(ev.ID); err != nil {
		return err
	}
	s.at.Store(s.start)
	s.opened.Store(true)
	return nil
}

func (s *subscriber) takePosition(ev sse.Event) error {
	seq, err := sequence(ev.ID)
	if err != nil {
		return err
	}
	if seq <= s.at.Load() {
		return fmt.Errorf("tidings.position %s comes after %s", ev.ID, s.lastID)
	}
	return nil
}

// takeEnd takes the last event, after which the connection breaks.
func (s *subscriber) takeEnd(ev sse.Event, st *stream) error {
	seq, err := sequence(ev.ID)
	if err != nil || seq < s.at.Load() || ev.Data != `{"reason":"stopping"}` {
		return fmt.Errorf("%+v comes after %s, %v", ev, s.lastID, err)
	}
	s.lastID = ev.ID
	s.at.Store(seq)
	if next, err := st.next(); err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("after %+v comes %+v, %v", ev, next, err)
	}
	return errStopped
}

// takeMessage takes a message, which must be unchanged.
func (s *subscriber) takeMessage(ev sse.Event, c *connection) error {
	typ, data, topic := ev.Type, ev.Data, ""
	if s.envelope {
		var e hub.Event
		if err := json.Unmarshal([]byte(ev.Data), &e); err != nil || ev.Type != "" || e.ID.String() != ev.ID || e.Time.IsZero() {
			return fmt.Errorf("%+v is not an envelope: %v", ev, err)
		}
		typ, data, topic = strings.TrimPrefix(e.Type, "message"), e.Data, e.Topic
	}
	n, err := number(data)
	if err != nil || n >= len(s.plan) {
		return fmt.Errorf("this was not published: %+v", ev)
	}
	if m := s.plan[n]; m.Type != typ || m.Data != data || topic != "" && m.Topic != topic {
		return fmt.Errorf("message %d was published as %+v, but arrives as %+v", n, m, ev)
	}
	seq, err := sequence(ev.ID)
	if err != nil {
		return err
	}
	s.got = append(s.got, receipt{n, seq, ev.ID, len(s.connections)})
	s.last.Store(seq)
	c.messages++
	return nil
}

// number returns the number at the beginning of a message's data.
func number(data string) (int, error) {
	digits, _, _ := strings.Cut(data, " ")
	return strconv.Atoi(digits)
}

// expected returns the stored messages that the subscriber must get.
func (s *subscriber) expected(order []stored) []stored {
	var want []stored
	wanted := map[string]bool{}
	for _, topic := range everyTopic() {
		wanted[topic] = matches(s.filters, topic)
	}
	for _, o := range order {
		if o.seq > s.start && wanted[s.plan[o.n].Topic] {
			want = append(want, o)
		}
	}
	return want
}

// compare returns the first difference between the messages that the subscriber got, over
// all its connections, and those that it must get.
func (s *subscriber) compare(order []stored) error {
	want := s.expected(order)
	for i := range max(len(want), len(s.got)) {
		if i < len(want) && i < len(s.got) && want[i] == (stored{s.got[i].n, s.got[i].seq, s.got[i].id}) {
			continue
		}
		what := fmt.Sprintf("subscriber %s to %q began after %d and has %d messages of %d; message %d of them ", s.name, s.filters, s.start, len(s.got), len(want), i)
		switch {
		case i >= len(want):
			what += fmt.Sprintf("is %v, but should not be there", s.got[i])
		case i >= len(s.got):
			return fmt.Errorf("%sshould be %v, but is not there; the last connection %v", what, want[i], s.connections[len(s.connections)-1])
		default:
			what += fmt.Sprintf("is %v, but should be %v", s.got[i], want[i])
		}
		at := s.got[i].connection
		for j := max(0, at-1); j <= min(at, len(s.connections)-1); j++ {
			what += fmt.Sprintf("\n\tconnection %d %v", j, s.connections[j])
		}
		return errors.New(what)
	}
	return nil
}
