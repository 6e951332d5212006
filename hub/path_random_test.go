package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// A history is what was published, by sequence number from 1.
type history struct {
	mu     sync.Mutex
	topics []string
	sizes  []int
	ended  bool
}

// owed returns how many messages that the filters match lie after one and up to another.
func (m *history) owed(filters []topics.Filter, after, through uint64) (n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for seq := after + 1; seq <= min(through, uint64(len(m.topics))); seq++ {
		topic := m.topics[seq-1]
		if slices.ContainsFunc(filters, func(f topics.Filter) bool { return f.Match(topic) }) {
			n++
		}
	}
	return n
}

// publish publishes a message with its number and so many bytes.
func (m *history) publish(s *station, topic string, size int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	seq := uint64(len(m.topics)) + 1
	data := fmt.Sprintf("%d:", seq)
	data += strings.Repeat("x", max(0, size-len(data)))
	p, err := s.Publish(context.Background(), hub.Message{Topic: topic, Data: data})
	if err != nil {
		return err
	}
	if p.ID.Seq != seq {
		return fmt.Errorf("message %d was published as %s", seq, p.ID)
	}
	m.topics, m.sizes = append(m.topics, topic), append(m.sizes, len(data))
	untilHead(s.Hub, seq) // retention is too short for a hub that lags, too
	return nil
}

// over reports whether everything is published, but for one message of each topic.
func (m *history) over() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ended
}

// finished reports whether nothing is owed after a number, and nothing will be.
func (m *history) finished(filters []topics.Filter, after uint64) bool {
	m.mu.Lock()
	ended, last := m.ended, uint64(len(m.topics))
	m.mu.Unlock()
	return ended && m.owed(filters, after, last) == 0
}

// A walker is a client with a pace of its own, which comes back when it likes.
type walker struct {
	s       *station
	history *history
	rand    *rand.Rand
	topics  string
	lag     string
	format  string
	late    bool // leaves as soon as it has an id, and comes back when everything is published

	filters []topics.Filter
	at      uint64 // everything up to here was handed on or said to be missing
	id      string
	anew    bool // only tidings.open has come, of a stream that began without an id
	gaps    int
}

// walk reads everything, and returns what was wrong.
func (w *walker) walk(ctx context.Context) error {
	w.filters, _ = topics.ParseFilters(strings.Fields(w.topics)...)
	for !w.history.finished(w.filters, w.at) {
		if err := w.connect(ctx); err != nil {
			return fmt.Errorf("%s lag=%s format=%s at %d: %w", w.topics, w.lag, w.format, w.at, err)
		}
		for w.late && !w.history.over() {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			time.Sleep(time.Millisecond)
		}
		w.late = false
	}
	return nil
}

// connect reads from one stream, until the walker would rather have another.
func (w *walker) connect(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", w.s.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	conn.(*net.TCPConn).SetReadBuffer(small)
	var header []string
	if w.id != "" {
		header = []string{"Last-Event-ID", w.id}
	}
	query := query(w.topics, "lag", w.lag, "format", w.format, "from", "start")
	c, err := w.s.get(ctx, conn, query, header...)
	if err != nil {
		return err
	}
	stay := w.rand.IntN(400)
	if w.late {
		stay = 1
	}
	for ; stay > 0; stay-- {
		if w.history.finished(w.filters, w.at) {
			return nil
		}
		switch n := w.rand.IntN(60); {
		case w.late:
		case n == 0:
			time.Sleep(time.Duration(w.rand.IntN(20)) * time.Millisecond)
		case n == 1: // in the middle of an event
			io.CopyN(io.Discard, c.lines, int64(w.rand.IntN(20)))
			return nil
		}
		ev, err := c.next()
		if err != nil {
			return err
		}
		if err := w.take(ev); err != nil {
			return err
		}
	}
	if w.rand.IntN(2) == 0 {
		conn.(*net.TCPConn).SetLinger(0)
	}
	return nil
}

// take checks an event against the history.
func (w *walker) take(ev seen) error {
	p, err := eventlog.ParsePosition(ev.ID)
	if err != nil {
		return fmt.Errorf("%+v: %w", ev, err)
	}
	skipped := w.history.owed(w.filters, w.at, max(p.Seq, 1)-1)
	gap, isGap := ev.gap()
	switch {
	case ev.Type == hub.OpenEventType:
		if w.id != "" && ev.ID != w.id {
			return fmt.Errorf("it goes on at %s after %s", ev.ID, w.id)
		}
	case isGap:
		missed := w.history.owed(w.filters, w.at, p.Seq)
		known := gap.Missed > 0
		if known && gap.Missed != missed || !known && gap.Reason != sse.GapExpired && gap.Reason != sse.GapLag || gap.Next != ev.ID || missed == 0 && known {
			return fmt.Errorf("%d are missing, and the gap is %+v", missed, gap)
		}
		w.gaps++
	case ev.Type == hub.PositionEventType:
		if n := w.history.owed(w.filters, w.at, p.Seq); n > 0 || p.Seq < w.at {
			return fmt.Errorf("%d are owed up to the position %s", n, ev.ID)
		}
	case skipped > 0 && !w.anew: // the oldest message is what is that when it is looked for
		return fmt.Errorf("%d come not before %s", skipped, ev.ID)
	case p.Seq <= w.at:
		return fmt.Errorf("then comes %s", ev.ID)
	default:
		if err := w.check(ev, p.Seq); err != nil {
			return err
		}
	}
	w.anew = w.id == "" && ev.Type == hub.OpenEventType
	w.at, w.id = p.Seq, ev.ID
	return nil
}

// check checks what a message carries.
func (w *walker) check(ev seen, seq uint64) error {
	text := ev.Data
	if w.format == "envelope" {
		var e hub.Event
		if err := json.Unmarshal([]byte(text), &e); err != nil || e.ID.String() != ev.ID {
			return fmt.Errorf("%.100q: %w", text, errors.Join(err, errors.New("no envelope")))
		}
		text = e.Data
	}
	w.history.mu.Lock()
	defer w.history.mu.Unlock()
	if seq > uint64(len(w.history.sizes)) || !strings.HasPrefix(text, fmt.Sprintf("%d:", seq)) || len(text) != w.history.sizes[seq-1] {
		return fmt.Errorf("%s has %d bytes: %.20q", ev.ID, len(text), text)
	}
	return nil
}

// Whatever the clients' pace, filters and lag, the window's size, the retention and the
// messages' sizes: what each gets and what it is told to have missed, in order, is what
// was published.
func TestPathWhatIsHandedOnAndWhatIsMissedAddUp(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		begin, gaps, runs := time.Now(), 0, 0
		for ; time.Since(begin) < 2*time.Second; runs++ {
			gaps += p.random(t, uint64(runs), false)
		}
		late := p.random(t, uint64(runs), true)
		if late == 0 {
			t.Error("there was no gap for those who come late: the test is blind")
		}
		t.Logf("%d runs, %d gaps, and %d for those who come late", runs, gaps, late)
	})
}

// random makes one run, and returns how many gaps there were. In one with late, so much is published
// while the clients are away that each has missed some of it.
func (p path) random(t *testing.T, seed uint64, late bool) (gaps int) {
	r := rand.New(rand.NewPCG(seed, 2))
	log := eventlog.NewMemory(&eventlog.MemoryOptions{MaxBytes: 400<<10 + r.IntN(1<<20)})
	s := p.station(t, log, &hub.Options{Window: 1 + r.IntN(50), WindowBytes: 1 + r.IntN(1<<20), KeepAlive: 20 * time.Millisecond}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	m := &history{}
	var walkers []*walker
	var walking sync.WaitGroup
	for range 1 + r.IntN(6) {
		w := &walker{
			s: s, history: m, rand: rand.New(rand.NewPCG(r.Uint64(), 3)),
			topics: []string{"a", "*", "a b", "**", "a *", "b.**"}[r.IntN(6)],
			lag:    []string{"replay", "skip"}[r.IntN(2)],
			format: []string{"data", "envelope"}[r.IntN(2)],
			late:   late,
		}
		walkers = append(walkers, w)
		walking.Go(func() {
			if err := w.walk(ctx); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		})
	}
	largest := 1 << r.IntN(19)
	if late {
		largest = 1 << 16
	}
	for range 200 + r.IntN(300) {
		if err := m.publish(s, []string{"a", "b", "b.c", "c"}[r.IntN(4)], 1+r.IntN(1+r.IntN(largest))); err != nil {
			t.Fatal(err)
		}
		if r.IntN(50) == 0 {
			time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond)
		}
	}
	m.mu.Lock()
	m.ended = true
	m.mu.Unlock()
	// With that everyone gets something more.
	for _, topic := range []string{"a", "b", "b.c"} {
		if err := m.publish(s, topic, 1); err != nil {
			t.Fatal(err)
		}
	}
	walking.Wait()
	for _, w := range walkers {
		gaps += w.gaps
	}
	s.vacated(t)
	return gaps
}
