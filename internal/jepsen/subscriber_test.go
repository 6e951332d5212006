//go:build unix

package jepsen_test

import (
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// The nodes' keep-alive interval, and how long a subscriber waits for a byte.
const (
	keepAlive = 2 * time.Second
	silence   = 3 * keepAlive
)

// A subscriber follows a stream, and goes to a node again with its last id whenever the
// stream ends. It runs in one goroutine.
type subscriber struct {
	trace   *trace
	history *history
	nodes   []*node
	r       *rand.Rand
	query   url.Values
	last    map[string]bool // the names of the last messages that it waits for
	most    int             // it ends after so many events, unless 0

	lives  time.Duration   // the mean time of a connection; 0 means that it stays
	pauses time.Duration   // the mean time between connections
	hurry  context.Context // when it is done, pauses are short

	lastID      string
	connections int
	open        atomic.Bool // it has had a first event
	refused     map[string]int
	ended       chan struct{} // closed when it has all of last
}

// newSubscriber returns a subscriber to filters. from says where it begins.
func newSubscriber(name string, r *rand.Rand, h *history, nodes []*node, from string, filters ...string) *subscriber {
	s := &subscriber{
		trace: &trace{name: name, filters: topics.MustFilters(filters...)}, history: h, nodes: nodes, r: r,
		query: url.Values{"topic": filters, "from": {from}}, last: map[string]bool{}, hurry: context.Background(), refused: map[string]int{}, ended: make(chan struct{}),
	}
	if r.IntN(2) == 0 {
		s.query.Set("format", "envelope")
	}
	for _, topic := range append(busyTopics[:len(busyTopics):len(busyTopics)], rareTopics...) {
		if s.trace.matches(topic) {
			s.last[lastName(topic)] = true
		}
	}
	return s
}

// lastName returns the name of the last message of a topic.
func lastName(topic string) string { return "last-" + topic }

// run follows until it has the last messages, or ctx is done.
func (s *subscriber) run(ctx context.Context) {
	node := s.r.IntN(len(s.nodes))
	for ctx.Err() == nil && len(s.last) > 0 && !s.full() {
		why := s.connect(ctx, node)
		if why != "" {
			s.refused[why]++
			sleep(ctx, 50*time.Millisecond)
		}
		s.connections++
		s.pause(ctx)
		if len(s.nodes) > 1 && (why != "" || s.r.IntN(2) == 0) {
			node = (node + 1) % len(s.nodes)
		}
	}
	if s.trace.reached = len(s.last) == 0; s.trace.reached {
		close(s.ended)
	}
}

// pause waits between two connections.
func (s *subscriber) pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-s.hurry.Done():
		sleep(ctx, min(s.pauses, 50*time.Millisecond))
	case <-time.After(around(s.r, s.pauses)):
	}
}

// badStatus begins why a stream was refused with a status. An EventSource would not come back.
const badStatus = "status "

// around returns a random time with this mean.
func around(r *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(2 * r.Float64() * float64(mean))
}

// connect follows one stream until it ends. It returns why there was none.
func (s *subscriber) connect(ctx context.Context, node int) (refused string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.lives > 0 {
		defer time.AfterFunc(around(s.r, s.lives), cancel).Stop()
	}
	timer := time.AfterFunc(silence, cancel) // a client cannot see that its link is dead
	defer timer.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.nodes[node].clients.addr+"/events?"+s.query.Encode(), nil)
	if err != nil {
		return err.Error()
	}
	req.Header.Set("Accept", "text/event-stream")
	if s.lastID != "" {
		req.Header.Set("Last-Event-ID", s.lastID)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return "no answer: " + why(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return badStatus + res.Status
	}
	for ev, err := range sse.Decode(alive{res.Body, timer}, &sse.DecodeOptions{LastEventID: s.lastID}) {
		switch {
		case err != nil:
			return ""
		case ev.Type == hub.UnavailableEventType:
			return "unavailable"
		}
		s.take(ev, node)
		if len(s.last) == 0 || s.full() {
			return ""
		}
	}
	return ""
}

func (s *subscriber) full() bool { return s.most > 0 && len(s.trace.events) >= s.most }

// An alive reader puts off its timer at each byte.
type alive struct {
	io.Reader
	timer *time.Timer
}

func (a alive) Read(b []byte) (int, error) {
	n, err := a.Reader.Read(b)
	if n > 0 {
		a.timer.Reset(silence)
	}
	return n, err
}

// take notes an event.
func (s *subscriber) take(ev sse.Event, node int) {
	e := event{id: ev.ID, at: time.Now(), node: node, connection: s.connections}
	switch {
	case ev.Type == hub.OpenEventType:
		e.kind = opened
	case ev.Type == sse.GapEventType:
		var gap struct{ Reason, After string }
		json.Unmarshal([]byte(ev.Data), &gap)
		e.kind, e.reason = told, gap.Reason+" after "+gap.After
	case ev.Type == hub.PositionEventType, ev.Type == hub.EndEventType:
		e.kind = moved
	default:
		e.kind = received
		e.name = s.identify(ev)
		delete(s.last, e.name)
	}
	s.trace.events = append(s.trace.events, e)
	s.lastID = ev.ID
	s.open.Store(true)
}

// identify returns the name of a message.
func (s *subscriber) identify(ev sse.Event) string {
	if s.query.Get("format") != "envelope" {
		return s.history.identify("", ev.Type, ev.Data)
	}
	var e hub.Event
	if err := json.Unmarshal([]byte(ev.Data), &e); err != nil || ev.Type != "" || e.ID.String() != ev.ID {
		return "not an envelope: " + ev.Data
	}
	return s.history.identify(e.Topic, strings.TrimPrefix(e.Type, "message"), e.Data)
}
