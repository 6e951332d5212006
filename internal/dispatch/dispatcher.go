// Package dispatch decides what each stream of a hub gets: frames from the window while
// the stream keeps up, and otherwise what a [Cursor] reads from the log. Package delivery
// then hands the frames to the streams.
//
// Each shard of package delivery has a feed, which appends new entries to the shard's sets.
// A stream that begins in the past, or falls out of the window, is detached from its set. A
// catchUp then reads from the log for it, on a goroutine of a pool, until the stream's
// place is in the window again.
package dispatch

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/delivery"
	"example.com/tidings/internal/window"
	"example.com/tidings/topics"
)

// Options configure a [Dispatcher]. There are no defaults.
type Options struct {
	Sockets                 bool // streams may be on sockets (Linux)
	KeepAlive, WriteTimeout time.Duration
	Retry                   time.Duration // how long clients wait at least before they reconnect
	Logger                  *slog.Logger
	Budgets                 *budget.Budgets

	// WindowEntries and WindowBytes are the bounds of the window. While more than four times
	// as many entries wait for a shard, or more bytes, its streams read from the log instead.
	WindowEntries, WindowBytes int

	SocketGone func() // called when a stream on a socket has ended

	// Revoked reports whether a stream may no longer be read.
	Revoked func(Holder) bool

	// Hidden is the topic of the hub's own records. No stream gets them. Own is called with each
	// of their entries. Renewed is called when some may have been passed over. Neither may wait.
	Hidden  topics.Filter
	Own     func(*window.Entry)
	Renewed func()
}

// A Dispatcher has all streams of a hub. Its methods may be called concurrently.
type Dispatcher struct {
	*delivery.Group
	log    eventlog.Log
	window *window.Window
	opts   Options
	feeds  []*feed
	pool   *pool
	room   *room
	ledger *ledger
	reads  *readCache
	counts counts

	drained atomic.Bool // set by Drain
	told    uint64      // the last entry of Extended; the window calls it under a lock

	passed atomic.Uint64 // bytes of the entries of Extended
}

// Passed returns about how many bytes of records the window has taken since the dispatcher was
// made.
func (d *Dispatcher) Passed() uint64 { return d.passed.Load() }

// New returns a dispatcher, which has to be closed.
func New(log eventlog.Log, w *window.Window, opts Options) (*Dispatcher, error) {
	d := &Dispatcher{log: log, window: w, opts: opts, pool: newPool(), told: w.Load().Last()}
	d.room = newRoom(d.pool, &opts.Budgets.CatchUp)
	d.reads = &readCache{log: log, window: w, budget: &opts.Budgets.CatchUp}
	var err error
	d.Group, err = delivery.New(delivery.Options{
		Sockets:      opts.Sockets,
		KeepAlive:    opts.KeepAlive,
		WriteTimeout: opts.WriteTimeout,
		Pinned:       &opts.Budgets.Pinned,
		Feed: func(s *delivery.Shard) delivery.Feed {
			f := newFeed(d, s)
			d.feeds = append(d.feeds, f)
			return f
		},
	})
	d.ledger = &ledger{budget: &opts.Budgets.Filters, shards: len(d.feeds)}
	return d, err
}

// recordBytes is about what a log takes for a record beside its topic and its data.
const recordBytes = 64

// Extended implements [window.Listener].
func (d *Dispatcher) Extended(entries []*window.Entry) {
	bytes := 0
	for _, e := range entries {
		if e.Seq != d.told+1 {
			d.opts.Renewed()
		}
		d.told = e.Seq
		bytes += recordBytes + len(e.Topic) + len(e.Data)
		if strings.HasPrefix(e.Topic, topics.ReservedPrefix) {
			d.opts.Own(e)
		}
	}
	d.passed.Add(uint64(bytes))
	for _, f := range d.feeds {
		f.extended(entries)
	}
}

// Renewed implements [window.Listener].
func (d *Dispatcher) Renewed(v *window.View) {
	d.told = v.Last()
	d.opts.Renewed()
	for _, f := range d.feeds {
		f.renewed(v)
	}
}

// Shrunk implements [window.Listener].
func (d *Dispatcher) Shrunk(*window.View) {
	for _, f := range d.feeds {
		f.shard.Do(f.forgetOld)
	}
}

// Behind returns how many entries wait in the longest queue of a shard.
func (d *Dispatcher) Behind() (n int) {
	for _, f := range d.feeds {
		n = max(n, f.queue.length())
	}
	return n
}

// OpenTask begins a stream that a task carries. It returns false if the dispatcher is
// closed.
func (d *Dispatcher) OpenTask(t *delivery.Task, o *Opening) bool {
	f := t.Shard().Feed().(*feed)
	return t.Shard().Do(func() {
		f.open(o, func(set *delivery.Set, form, tag uint8) (uint32, bool) { return f.shard.OpenTask(t, set, form, tag) })
	})
}

// Drain has each stream end when it has everything that is in the window now, or at once
// if it reads from the log. It does not wait for that.
func (d *Dispatcher) Drain() {
	d.drained.Store(true)
	for _, f := range d.feeds {
		f.shard.Do(f.submitOutdated) // they end
	}
	d.room.drain()
	d.Group.Drain()
}

// jitteredRetry returns how long a client waits before it reconnects: up to twice as long as
// Options.Retry, so that not all clients come back at once.
func (d *Dispatcher) jitteredRetry() time.Duration { return d.opts.Retry + rand.N(d.opts.Retry+1) }

// Close cuts the streams that do not end within the given time. It returns when nothing is
// left but the goroutines of tasks, which end by themselves.
func (d *Dispatcher) Close(within time.Duration) error {
	d.Drain()
	timer := time.NewTimer(within)
	defer timer.Stop()
	d.Group.Drained(timer.C)
	err := d.Group.Close()
	d.pool.done.Wait()
	d.reads.close()
	d.room.close()
	return err
}

func (d *Dispatcher) logBegin(s *delivery.Shard, slot uint32, remote string, filters []topics.Filter) {
	if d.debugs() {
		d.opts.Logger.Debug("hub: a stream begins", "path", s.SinkOf(slot).String(), "stream", s.Name(slot).String(), "remote", remote, "topics", filters)
	}
}

func (d *Dispatcher) logEnd(s *delivery.Shard, slot uint32, reason delivery.Reason) {
	if d.debugs() {
		d.opts.Logger.Debug("hub: a stream has ended", "path", s.SinkOf(slot).String(), "stream", s.Name(slot).String(), "reason", reason.String())
	}
}

func (d *Dispatcher) debugs() bool {
	return d.opts.Logger.Enabled(context.Background(), slog.LevelDebug)
}
