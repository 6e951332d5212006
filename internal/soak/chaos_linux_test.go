package soak_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/natslog"
	"example.com/tidings/eventlog/segmentlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/stats"
	"example.com/tidings/internal/natstest"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// How long each hub of the chaos lasts, and how many there are on a log.
const (
	chaosFor  = 400 * time.Millisecond
	chaosHubs = 4
)

// Streams come and go on every path while messages are published and figures are read. Again and
// again the hub drains, closes, and another one opens the log. Every acknowledged message reaches
// every subscriber once and in order, and each hub gives back all that it held.
func TestChaos(t *testing.T) {
	for _, tt := range []struct {
		name string
		open func(t *testing.T) func() (eventlog.Log, error)
	}{
		{"memory", func(t *testing.T) func() (eventlog.Log, error) {
			log := eventlog.NewMemory(nil)
			t.Cleanup(func() { log.Close() })
			return func() (eventlog.Log, error) { return keptLog{log}, nil }
		}},
		{"segmentlog", func(t *testing.T) func() (eventlog.Log, error) {
			dir := t.TempDir()
			return func() (eventlog.Log, error) {
				return segmentlog.Open(t.Context(), &segmentlog.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
			}
		}},
		{"natslog", func(t *testing.T) func() (eventlog.Log, error) {
			server := natstest.Start(t)
			return func() (eventlog.Log, error) {
				return natslog.Connect(t.Context(), &natslog.Options{URL: server.URL, Logger: slog.New(slog.DiscardHandler)})
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			open := tt.open(t)
			before := holdings()
			runChaos(t, open)
			// The log and net/http end in the background.
			eventually(t, "descriptors and goroutines are as before", func() bool {
				now := holdings()
				return now.descriptors <= before.descriptors+2 && now.goroutines <= before.goroutines+2
			})
		})
	}
}

// A keptLog stays open when its hub closes it.
type keptLog struct{ eventlog.Log }

func (keptLog) Close() error { return nil }

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v it is not so that %s", patience, what)
		}
	}
}

type held struct{ descriptors, goroutines int }

// holdings returns what this process holds.
func holdings() held {
	entries, _ := os.ReadDir("/proc/self/fd")
	return held{len(entries), runtime.NumGoroutine()}
}

// A chaos has the clients of one hub after the other.
type chaos struct {
	t    *testing.T
	addr string
	hub  atomic.Pointer[hub.Hub]
	ctx  context.Context

	mu      sync.Mutex
	acked   map[string]bool
	session context.Context // of some streams that come and go
}

func runChaos(t *testing.T, open func() (eventlog.Log, error)) {
	ctx, cancel := context.WithCancel(t.Context())
	c := &chaos{t: t, ctx: ctx, acked: map[string]bool{}}
	h := c.next(open)
	server := &http.Server{Handler: http.HandlerFunc(c.serve), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.addr = l.Addr().String()
	go server.Serve(l)
	defer server.Close()

	var running, publishing sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var followers []*follower
	for i := range 12 {
		f := &follower{chaos: c, got: map[string]bool{}}
		followers = append(followers, f)
		running.Go([]func(){f.followTaken, f.followPlain, f.iterate}[i%3])
	}
	for range 4 {
		running.Go(c.churn)
	}
	running.Go(c.takeAway)
	running.Go(c.readStats)
	publishEnd, stopPublishing := context.WithCancel(ctx)
	for w := range 3 {
		publishing.Go(func() { c.publish(publishEnd, w) })
	}
	for n := 1; ; n++ {
		time.Sleep(chaosFor)
		if n == chaosHubs {
			break
		}
		c.close(h)
		h = c.next(open)
	}
	stopPublishing()
	publishing.Wait()
	c.mu.Lock()
	want := len(c.acked)
	c.mu.Unlock()
	for i, f := range followers {
		eventually(t, fmt.Sprintf("follower %d has all messages", i), func() bool { return f.has(c.acked) })
	}
	cancel()
	running.Wait()
	c.close(h)
	if want < 10 {
		t.Errorf("only %d messages were published", want)
	}
	t.Logf("%d messages", want)
}

// next opens the log, and puts a hub on it.
func (c *chaos) next(open func() (eventlog.Log, error)) *hub.Hub {
	c.t.Helper()
	log, err := open()
	if err != nil {
		c.t.Fatal(err)
	}
	h, err := hub.New(c.t.Context(), log, &hub.Options{TakeOver: true, Window: 64, Retry: time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		c.t.Fatal(err)
	}
	c.hub.Store(h)
	return h
}

// close drains the hub, and closes it while others use it. It must hold nothing then.
func (c *chaos) close(h *hub.Hub) {
	c.t.Helper()
	var draining sync.WaitGroup
	for range 2 {
		draining.Go(h.Drain)
	}
	if err := h.Close(); err != nil {
		c.t.Error(err)
	}
	draining.Wait()
	eventually(c.t, "a closed hub has no streams, subscribers or bytes", func() bool {
		s := h.Stats()
		streams := slices.ContainsFunc(s.Shards, func(s stats.Shard) bool { return s.Streams != 0 })
		bytes := slices.ContainsFunc(s.Budgets, func(b stats.Budget) bool { return b.Used != 0 })
		return !streams && !bytes && s.Subscribers == 0 && h.TakenOver() == 0
	})
}

// serve serves a stream of the current hub.
func (c *chaos) serve(w http.ResponseWriter, r *http.Request) {
	sub := c.subscription("")
	if r.URL.Path != "/" { // of churn
		sub.Subject = fmt.Sprint("jwt:", rand.IntN(4))
		sub.NoEnd = true
		switch rand.IntN(4) {
		case 0:
			sub.Issued = time.Now()
		case 1:
			sub.Until = time.Now().Add(rand.N(10 * time.Millisecond))
		case 2:
			c.mu.Lock()
			sub.Session = c.session
			c.mu.Unlock()
		}
	}
	c.hub.Load().ServeEvents(w, r, sub)
}

// takeAway ends the streams of subjects and sessions, and revokes some.
func (c *chaos) takeAway() {
	end := func() {}
	for c.ctx.Err() == nil {
		end()
		c.mu.Lock()
		c.session, end = context.WithCancel(c.ctx)
		c.mu.Unlock()
		subject := fmt.Sprint("jwt:", rand.IntN(4))
		err := c.hub.Load().Disconnect(c.ctx, subject)
		if err == nil && rand.IntN(4) == 0 {
			err = c.hub.Load().Revoke(c.ctx, subject, time.Now())
		}
		if err != nil && !errors.Is(err, eventlog.ErrClosed) && c.ctx.Err() == nil {
			c.t.Errorf("taking away: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
	end()
}

func (c *chaos) subscription(lastID string) hub.Subscription {
	return hub.Subscription{Filters: topics.MustFilters("chaos.*"), From: hub.FromStart(), LastEventID: lastID}
}

// publish publishes messages until ctx is done, each until it is acknowledged.
func (c *chaos) publish(ctx context.Context, worker int) {
	for n := 0; ctx.Err() == nil; n++ {
		name := fmt.Sprintf("%d-%d", worker, n)
		m := hub.Message{Topic: fmt.Sprint("chaos.", n%5), Data: name, Key: name}
		for {
			_, err := c.hub.Load().Publish(c.ctx, m)
			if err == nil {
				break
			}
			if !errors.Is(err, eventlog.ErrClosed) {
				c.t.Errorf("publishing: %v", err)
				return
			}
			time.Sleep(time.Millisecond)
		}
		c.mu.Lock()
		c.acked[name] = true
		c.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}

// readStats reads the figures of the hub.
func (c *chaos) readStats() {
	for c.ctx.Err() == nil {
		h := c.hub.Load()
		h.Stats()
		h.TakenOver()
		h.Ready(c.ctx)
		time.Sleep(time.Millisecond)
	}
}

// churn opens streams, and leaves them at any time.
func (c *chaos) churn() {
	for c.ctx.Err() == nil {
		conn, err := c.request("/churn", []string{"1.0", "1.1"}[rand.IntN(2)], "")
		if err != nil {
			continue
		}
		conn.SetReadDeadline(time.Now().Add(rand.N(5 * time.Millisecond)))
		conn.Read(make([]byte, rand.IntN(2000)+1))
		if rand.IntN(2) == 0 {
			conn.(*net.TCPConn).SetLinger(0)
		}
		conn.Close()
	}
}

// request asks for a stream. The connection ends with the chaos.
func (c *chaos) request(path, protocol, lastID string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(c.ctx, "tcp", c.addr)
	if err != nil {
		return nil, err
	}
	header := ""
	if lastID != "" {
		header = "Last-Event-ID: " + lastID + "\r\n"
	}
	_, err = fmt.Fprintf(conn, "GET %s HTTP/%s\r\nHost: localhost\r\n%s\r\n", path, protocol, header)
	return conn, err
}

// A follower is a subscriber that comes back after each hub.
type follower struct {
	*chaos
	lastID string
	last   uint64 // the number of lastID

	gotMu sync.Mutex
	got   map[string]bool
}

func (f *follower) followTaken() { f.follow("1.1") }
func (f *follower) followPlain() { f.follow("1.0") }

// follow reads streams until the chaos ends.
func (f *follower) follow(protocol string) {
	for f.ctx.Err() == nil {
		conn, err := f.request("/", protocol, f.lastID)
		if err != nil {
			continue
		}
		stop := context.AfterFunc(f.ctx, func() { conn.Close() })
		f.read(conn)
		stop()
		conn.Close()
	}
}

// read reads a stream to its end.
func (f *follower) read(conn net.Conn) {
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != http.StatusOK {
		return
	}
	for ev, err := range sse.Decode(res.Body, &sse.DecodeOptions{LastEventID: f.lastID}) {
		switch {
		case err != nil:
			return
		case ev.Type == sse.GapEventType:
			f.t.Errorf("a gap: %s", ev.Data)
		case strings.HasPrefix(ev.Type, topics.ReservedPrefix):
			f.lastID = ev.ID
		default:
			f.take(ev.ID, ev.Data)
		}
	}
}

// iterate ranges subscriptions until the chaos ends.
func (f *follower) iterate() {
	for f.ctx.Err() == nil {
		events, err := f.hub.Load().Subscribe(f.ctx, f.subscription(f.lastID))
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		for ev, err := range events {
			if err == nil {
				f.take(ev.ID.String(), ev.Data)
			} else if _, ended := errors.AsType[*hub.EndError](err); !ended {
				f.t.Errorf("a subscription: %v", err)
			}
		}
	}
}

// take notes a message, which must be after all before it.
func (f *follower) take(id, data string) {
	p, err := eventlog.ParsePosition(id)
	if err != nil {
		f.t.Errorf("the id of %q: %v", data, err)
		return
	}
	f.gotMu.Lock()
	defer f.gotMu.Unlock()
	if p.Seq <= f.last || f.got[data] {
		f.t.Errorf("message %s with the number %d comes after number %d", data, p.Seq, f.last)
	}
	f.lastID, f.last, f.got[data] = id, p.Seq, true
}

// has reports whether the follower has each message of acked.
func (f *follower) has(acked map[string]bool) bool {
	f.gotMu.Lock()
	defer f.gotMu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range acked {
		if !f.got[name] {
			return false
		}
	}
	return true
}
