package hub

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/dispatch"
	"example.com/tidings/internal/window"
)

// Options configure a [Hub]. The zero value holds the defaults.
type Options struct {
	// Window and WindowBytes bound the newest messages that the hub keeps in memory, in
	// messages and in bytes of memory with the forms that were encoded. They serve subscribers that are live or not far behind. Others read from the log. 0
	// means 8,192 messages and 64 MiB.
	Window      int
	WindowBytes int

	// ClientBytes bounds what the hub holds for its clients beside the window, in encoded
	// bytes: what slow clients have not taken, bodies of requests, answers, filters. Each kind
	// has a fixed part of it, which the metrics show. 0 means 96 MiB.
	ClientBytes int

	// MaxMessage bounds the data of a message, in bytes. 0 means 4 MiB.
	MaxMessage int

	// MaxSubscribers bounds the streams of ServeEvents and Subscribe together. 0 means
	// no bound.
	MaxSubscribers int

	// KeepAlive is how long a stream of ServeEvents may be silent. Then, or up to an
	// eighth of that time earlier, the hub sends a keep-alive: the event tidings.position
	// if the log has gone on meanwhile, and a comment otherwise. 0 means 15 seconds. A
	// negative value switches keep-alives off.
	KeepAlive time.Duration

	// WriteTimeout is how long the client of a stream of ServeEvents may refuse to take
	// data. Then the hub ends the stream. 0 means 10 seconds. A negative value means
	// forever.
	WriteTimeout time.Duration

	// Retry is how long clients wait at least before they reconnect. The hub tells each one a
	// time of its own, of up to twice as long, so that not all come back at once. A hub that
	// cannot take a stream says up to four times as long. 0 means 2 seconds.
	Retry time.Duration

	// TakeOver lets ServeEvents take connections over from net/http where it can. They
	// then cost little more than the kernel's part. See [Hub.ServeEvents] for what that
	// changes. It has no effect on systems other than Linux.
	TakeOver bool

	// MaxCredentialAge is how long a credential lives at most, and so how long [Hub.Revoke]
	// refuses one. 0 means 24 hours.
	MaxCredentialAge time.Duration

	// Logger gets what the hub tells no caller. Nil means slog.Default().
	Logger *slog.Logger
}

func (o *Options) cloneWithDefaults() Options {
	var opts Options
	if o != nil {
		opts = *o
	}
	opts.Window = cmp.Or(opts.Window, 8192)
	opts.WindowBytes = cmp.Or(opts.WindowBytes, 64<<20)
	opts.ClientBytes = cmp.Or(opts.ClientBytes, budget.DefaultBytes)
	opts.MaxMessage = cmp.Or(opts.MaxMessage, 4<<20)
	opts.MaxSubscribers = cmp.Or(opts.MaxSubscribers, math.MaxInt)
	opts.KeepAlive = cmp.Or(opts.KeepAlive, 15*time.Second)
	opts.MaxCredentialAge = cmp.Or(opts.MaxCredentialAge, 24*time.Hour)
	opts.WriteTimeout = cmp.Or(opts.WriteTimeout, 10*time.Second)
	if opts.Retry <= 0 {
		opts.Retry = 2 * time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return opts
}

// A Hub takes messages, stores them in a log, and delivers them to subscribers. Its
// methods may be called concurrently.
type Hub struct {
	log     eventlog.Log
	opts    Options
	window  *window.Window
	streams *dispatch.Dispatcher
	budgets *budget.Budgets
	paced   pace
	revoked revocations

	keeping  sync.Mutex  // held while revocations are stored or read again
	renewing atomic.Bool // revocations are about to be read again

	subscribers atomic.Int64
	waiting     atomic.Int64 // answers of ServeUnavailable that stay open
	notTCP      atomic.Bool  // the listener's connections cannot be taken over

	drained chan struct{} // closed when everything published is in the window, or after drainWait

	mu         sync.Mutex
	closed     bool           // by Drain
	publishing sync.WaitGroup // Publish calls that are under way; added to under mu
}

func init() { budget.Of = func(h any) *budget.Budgets { return h.(*Hub).budgets } }

// New returns a hub on a log. [Hub.Close] closes the log. Nil options are the defaults. New
// reads the newest messages. If that fails, it returns an error and does not close the log.
func New(ctx context.Context, log eventlog.Log, opts *Options) (*Hub, error) {
	h := &Hub{log: log, opts: opts.cloneWithDefaults(), drained: make(chan struct{})}
	h.budgets = budget.New(h.opts.ClientBytes)
	var err error
	h.window, err = window.New(ctx, log, window.Options{
		MaxEntries: h.opts.Window, MaxBytes: h.opts.WindowBytes, Shared: inMemory(log), Pinned: &h.budgets.Pinned, Logger: h.opts.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	if err := h.readRevoked(ctx); err != nil {
		h.window.Close()
		return nil, fmt.Errorf("hub: read what is revoked: %w", err)
	}
	h.streams, err = dispatch.New(log, h.window, dispatch.Options{
		Sockets:       h.opts.TakeOver,
		KeepAlive:     h.opts.KeepAlive,
		WriteTimeout:  h.opts.WriteTimeout,
		Retry:         h.opts.Retry,
		Logger:        h.opts.Logger,
		Budgets:       h.budgets,
		WindowEntries: h.opts.Window,
		WindowBytes:   h.opts.WindowBytes,
		SocketGone:    func() { h.subscribers.Add(-1) },
		Revoked:       func(x dispatch.Holder) bool { return h.revoked.ends(x.Subject, x.Issued, x.Since) },
		Hidden:        hidden,
		Own:           h.own,
		Renewed:       h.renewed,
	})
	if err != nil {
		h.window.Close()
		return nil, fmt.Errorf("hub: %w", err)
	}
	h.window.Follow(h.streams)
	go h.keepRevoked()
	return h, nil
}

// inMemory reports whether a log holds its records in memory, so that the window adds only what it
// makes of them.
func inMemory(log eventlog.Log) bool {
	l, ok := log.(interface{ InMemory() bool })
	return ok && l.InMemory()
}

// Failed returns a channel that is closed when the log has failed for good: see
// [eventlog.Failer]. From then on Publish returns [eventlog.ErrFailed], and subscribers can
// still read what is stored. The program should drain the hub and end, and start again
// when the disk is in order. The channel is never closed if the log is no Failer.
func (h *Hub) Failed() <-chan struct{} {
	if log, ok := h.log.(eventlog.Failer); ok {
		return log.Failed()
	}
	return nil
}

// Err returns nil until Failed is closed, and then the reason: one sentence for the person who
// runs the program.
func (h *Hub) Err() error {
	if log, ok := h.log.(eventlog.Failer); ok {
		return log.Err()
	}
	return nil
}

// Ready returns nil if the hub can publish and serve, and otherwise why it cannot:
// [ErrUnavailable] after Drain, or an error of the log, such as that of Err or of
// [eventlog.Monitor]. It asks the log, and gives up when ctx is done.
func (h *Hub) Ready(ctx context.Context) error {
	if h.isClosed() {
		return ErrUnavailable
	}
	if err := h.Err(); err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	if err := h.trouble(); err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	if _, err := h.log.State(ctx); err != nil {
		return fmt.Errorf("hub: the log's state: %w", err)
	}
	if err := h.window.Err(); err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	return nil
}

// trouble returns what a log that is a Monitor complains of, or nil.
func (h *Hub) trouble() error {
	if log, ok := h.log.(eventlog.Monitor); ok {
		return log.Trouble()
	}
	return nil
}

func (h *Hub) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// drainWait is how long a hub that drains waits for publishers, and then for the log to
// deliver what it has acknowledged. That takes milliseconds, unless the log cannot be
// reached. Then subscribers get the rest when they reconnect.
const drainWait = 500 * time.Millisecond

// Drain stops the hub gently. Publish returns [eventlog.ErrClosed], and new subscriptions
// fail with [ErrUnavailable]. A stream ends when it has everything that was published, or at
// once if it is far behind. Drain does not wait for that. Draining again does nothing.
func (h *Hub) Drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.closed = true
	go func() {
		ctx, cancel := context.WithTimeout(h.window.Context(), drainWait)
		defer cancel()
		published := make(chan struct{})
		go func() {
			h.publishing.Wait()
			close(published)
		}()
		select {
		case <-published:
		case <-ctx.Done(): // the log hangs
		}
		_, last := h.window.Head()
		h.window.Await(ctx, last)
		h.streams.Drain()
		close(h.drained)
	}()
}

// Close drains the hub, and closes the log. Streams of ServeEvents have half a second to
// end. Then Close cuts them. It does not wait for the sequences of Subscribe, which end when
// they are asked for more.
func (h *Hub) Close() error {
	h.Drain()
	<-h.drained
	if err := h.streams.Close(drainWait); err != nil {
		h.opts.Logger.Warn("hub: closing", "error", err)
	}
	h.window.Close()
	return h.log.Close()
}
