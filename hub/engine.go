package hub

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"example.com/tidings/internal/delivery"
)

// An engine delivers to all streams of a hub, whatever carries them.
type engine struct {
	hub   *Hub
	group *delivery.Group
	feeds []*feed
	pool  *pool

	wrapped atomic.Bool // the listener's connections cannot be taken over after all
}

func newEngine(h *Hub) (*engine, error) {
	e := &engine{hub: h, pool: newPool()}
	var err error
	e.group, err = delivery.New(delivery.Options{
		Sockets:      h.opts.TakeOver,
		KeepAlive:    h.opts.KeepAlive,
		WriteTimeout: h.opts.WriteTimeout,
		Feed: func(s *delivery.Shard) delivery.Feed {
			f := newFeed(e, s)
			e.feeds = append(e.feeds, f)
			return f
		},
	})
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	return e, nil
}

// extended tells the shards of new records, in their order. Callers hold the hub's mu.
func (e *engine) extended(entries []*entry) {
	for _, f := range e.feeds {
		f.extended(entries)
	}
}

// renewed tells the shards of a view that was made anew. Callers hold the hub's mu.
func (e *engine) renewed(v *view) {
	for _, f := range e.feeds {
		f.renewed(v)
	}
}

// close cuts the streams that do not end in time, and returns when nothing of the engine is
// left but the goroutines of tasks, which end by themselves.
func (e *engine) close() {
	e.group.Drain()
	timer := time.NewTimer(drainWait)
	defer timer.Stop()
	e.group.Drained(timer.C)
	if err := e.group.Close(); err != nil {
		e.hub.opts.Logger.Warn("hub: closing", "error", err)
	}
	e.pool.done.Wait()
}

// subscribersOf returns how many streams a topic has.
func (e *engine) subscribersOf(topic string) (n int) {
	for _, f := range e.feeds {
		counted := make(chan int, 1)
		if f.shard.Do(func() { counted <- f.subscribersOf(topic) }) {
			n += <-counted
		}
	}
	return n
}

// logBegin and logEnd take note of a stream.
func (e *engine) logBegin(s *delivery.Shard, slot uint32, remote string, topics []string) {
	if e.debugs() {
		e.hub.opts.Logger.Debug("hub: a stream begins", "path", pathOf(s.SinkOf(slot)), "stream", s.Name(slot).String(), "remote", remote, "topics", topics)
	}
}

func (e *engine) logEnd(s *delivery.Shard, slot uint32, reason delivery.Reason) {
	if e.debugs() {
		e.hub.opts.Logger.Debug("hub: a stream has ended", "path", pathOf(s.SinkOf(slot)), "stream", s.Name(slot).String(), "reason", reason.String())
	}
}

func (e *engine) debugs() bool {
	return e.hub.opts.Logger.Enabled(context.Background(), slog.LevelDebug)
}

// remoteOf returns the address of a request's client if it will be logged: it is not kept
// otherwise.
func (e *engine) remoteOf(r *http.Request) string {
	if !e.debugs() {
		return ""
	}
	return r.RemoteAddr
}

// openTask has a task's shard make it a stream. It returns false if the hub is closed.
func (e *engine) openTask(t *delivery.Task, o *opening) bool {
	f := t.Shard().Feed().(*feed)
	return t.Shard().Do(func() { f.openTask(t, o) })
}
