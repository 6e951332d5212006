package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Options configure a [Hub]. The zero value holds the defaults.
type Options struct {
	// Window and WindowBytes bound what is kept in memory of the newest
	// messages, which serves subscribers that are live or not far behind; others
	// read from the log. 0 means 8,192 messages and 64 MiB.
	Window      int
	WindowBytes int

	// MaxMessage bounds the data of a message, in bytes. 0 means 4 MiB.
	MaxMessage int

	// MaxSubscribers bounds the streams of ServeEvents and Subscribe together. 0
	// means no bound.
	MaxSubscribers int

	// KeepAlive is how long a stream of ServeEvents may be silent. Then, or up to an
	// eighth of that time earlier, a keep-alive is sent: the event tidings.position
	// when the log has gone on meanwhile, a comment otherwise. 0 means 15 seconds; a
	// negative value switches it off.
	KeepAlive time.Duration

	// WriteTimeout is for how long the client of a stream of ServeEvents may take
	// nothing of what it is owed. 0 means 10 seconds; a negative value means for ever.
	WriteTimeout time.Duration

	// Retry is how long clients are told to wait before they reconnect. 0 means 2
	// seconds.
	Retry time.Duration

	// TakeOver has ServeEvents take connections over from net/http where it can, which
	// then cost the kernel's part and little else: see [Hub.ServeEvents] for what
	// that changes. It has no effect on other systems than Linux.
	TakeOver bool

	// Logger is where the hub logs what no caller sees. Nil means slog.Default().
	Logger *slog.Logger
}

func (o *Options) cloneWithDefaults() Options {
	var opts Options
	if o != nil {
		opts = *o
	}
	setDefault(&opts.Window, 8192)
	setDefault(&opts.WindowBytes, 64<<20)
	setDefault(&opts.MaxMessage, 4<<20)
	setDefault(&opts.KeepAlive, 15*time.Second)
	setDefault(&opts.WriteTimeout, 10*time.Second)
	setDefault(&opts.Retry, 2*time.Second)
	if opts.MaxSubscribers == 0 {
		opts.MaxSubscribers = math.MaxInt
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return opts
}

// A Hub takes messages, has a log store them, and hands them to subscribers. Its
// methods may be called concurrently.
type Hub struct {
	log  Log
	opts Options

	ctx    context.Context // of the tail; done at the end of Close
	cancel context.CancelFunc
	tailed chan struct{} // closed when the tail has ended
	kept   chan struct{} // closed when expire has ended

	publishing sync.WaitGroup // Publish calls that are under way
	draining   chan struct{}  // closed by Drain
	drained    chan struct{}  // closed when everything published is in the view

	view   viewer // stored under mu
	engine *engine

	shared      batches // read from the log
	subscribers atomic.Int64
	invalid     invalids

	mu       sync.Mutex
	moved    sync.Cond // of mu: the view has another head, or someone who waits should look up
	appended uint64    // the greatest sequence number that Publish was given by this log
	closed   bool      // by Drain
}

// New returns a hub that stands on log, which it closes in Close; nil options are
// the defaults. It reads the newest messages first, and so can fail; then the log
// is not closed.
func New(ctx context.Context, log Log, opts *Options) (*Hub, error) {
	h := &Hub{
		log:      log,
		opts:     opts.cloneWithDefaults(),
		tailed:   make(chan struct{}),
		kept:     make(chan struct{}),
		draining: make(chan struct{}),
		drained:  make(chan struct{}),
	}
	h.moved.L = &h.mu
	h.ctx, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	err := h.reload(ctx)
	if err == nil {
		h.engine, err = newEngine(h)
	}
	if err != nil {
		h.cancel()
		return nil, err
	}
	go h.tail()
	go h.expire()
	return h, nil
}

// drainWait is how long a hub that drains waits for what is being published, and to
// see in the log what it has acknowledged. It takes milliseconds, unless the log
// cannot be reached; then subscribers get the rest when they come back.
const drainWait = 500 * time.Millisecond

// Drain stops the hub gently: Publish returns [ErrClosed], new subscriptions are
// refused for now, and each stream ends once it has what was published, or at
// once if it is far behind. It does not wait for that. Draining again does
// nothing.
func (h *Hub) Drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.closed = true
	close(h.draining)
	go func() {
		ctx, cancel := context.WithTimeout(h.ctx, drainWait)
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
		h.mu.Lock()
		last := h.appended
		h.mu.Unlock()
		h.await(ctx, last)
		close(h.drained)
		h.engine.group.Drain()
	}()
}

// Close drains the hub, and closes the log. The streams of ServeEvents have half a second
// to end, and are broken off then. It does not wait for the sequences of Subscribe, which
// end when they are asked for more.
func (h *Hub) Close() error {
	h.Drain()
	<-h.drained
	h.engine.close()
	h.cancel()
	<-h.tailed
	<-h.kept
	return h.log.Close()
}

// reload makes the view anew, from the log: at the start, and when the log was
// opened anew.
func (h *Hub) reload(ctx context.Context) error {
	epochs := h.log.Epochs()
	state, err := h.log.State(ctx)
	if err != nil {
		return fmt.Errorf("hub: the log's state: %w", err)
	}
	after := state.First - 1
	if n := uint64(h.opts.Window); state.Last > n {
		after = max(after, state.Last-n)
	}
	r := ring{first: after + 1}
	everything := []Filter{{"**"}}
	for after < state.Last {
		b, err := h.log.Read(ctx, Query{Filters: everything, After: after, UpTo: state.Last, MaxRecords: 1024, MaxBytes: 4 << 20})
		if err != nil {
			return fmt.Errorf("hub: read the newest messages: %w", err)
		}
		if b.Lost > 0 {
			r = ring{first: b.Lost + 1}
		}
		for i := range b.Records {
			if b.Records[i].Seq != r.last()+1 {
				r = ring{first: b.Records[i].Seq}
			}
			e := timeline(epochs).entry(b.Records[i])
			h.note(e)
			r = r.push(e)
			r = r.drop(r.excess(h.opts.Window, h.opts.WindowBytes))
		}
		after = b.Through
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	next := view{ring: r, timeline: epochs, eras: []era{{last: state.Last}}}
	if was := h.view.load(); was != nil {
		// Another slice of the same epochs is of a log that has lost its end. Where
		// it now goes further than we had seen, what was lost is not known.
		same := epochs[len(epochs)-1].ID == was.timeline[len(was.timeline)-1].ID
		lost := same && &epochs[0] != &was.timeline[0] && state.Last >= was.last()
		next.eras = append(was.eras[:len(was.eras):len(was.eras)], era{state.Last, lost})
	}
	h.view.store(next)
	h.appended = min(h.appended, state.Last)
	if h.engine != nil {
		h.engine.renewed(&next)
	}
	h.moved.Broadcast()
	return nil
}

// tail follows the log for as long as the hub lives.
func (h *Hub) tail() {
	defer close(h.tailed)
	const pause, longest = 50 * time.Millisecond, 2 * time.Second
	for wait := pause; ; wait = min(2*wait, longest) {
		for records, err := range h.log.Tail(h.ctx, h.view.load().last()) {
			if err == nil && h.isAnew() {
				err = errAnew
			}
			if err != nil {
				h.opts.Logger.Warn("hub: following the log failed; trying again", "error", err)
				break
			}
			h.extend(records)
			wait = pause
		}
		for current := false; !current; wait = min(2*wait, longest) {
			select {
			case <-h.ctx.Done():
				return
			case <-time.After(wait):
			}
			switch err := h.renew(); {
			case err == nil:
				current = true
			case errors.Is(err, ErrClosed):
				return
			case h.ctx.Err() == nil:
				h.opts.Logger.Warn("hub: reading the log failed; trying again", "error", err)
			}
		}
	}
}

// errAnew ends following a log that was opened anew.
var errAnew = errors.New("the log was opened anew")

// renew makes the view anew if it is of a log that is no longer the same: that was
// opened anew, or has lost its end.
func (h *Hub) renew() error {
	state, err := h.log.State(h.ctx)
	if err == nil && (h.isAnew() || state.Last < h.view.load().last()) {
		err = h.reload(h.ctx)
	}
	return err
}

// isAnew reports whether the log was opened anew since the view was made: it then
// has another slice of epochs.
func (h *Hub) isAnew() bool { return &h.log.Epochs()[0] != &h.view.load().timeline[0] }

// expireInterval is how often the window is held to the log's retention.
const expireInterval = time.Second

// expire has the window hold nothing that the log no longer retains, for as long as
// the hub lives: a stream would hand on what the history says has expired.
func (h *Hub) expire() {
	defer close(h.kept)
	ticker := time.NewTicker(expireInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-h.ctx.Done():
			return
		}
		state, err := h.log.State(h.ctx)
		if err != nil {
			continue // the tail says so
		}
		h.mu.Lock()
		if next := *h.view.load(); state.First > next.first && !h.isAnew() {
			next.ring = next.drop(int(min(state.First-next.first, uint64(len(next.records)))))
			h.view.store(next)
		}
		h.mu.Unlock()
		h.shared.forget()
	}
}

// extend adds records to the view, and tells the shards and those who wait for the head.
func (h *Hub) extend(records []Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := *h.view.load()
	var added []*entry
	for i := range records {
		rec := &records[i]
		switch last := next.last(); {
		case rec.Seq <= last:
			continue
		case rec.Seq > last+1:
			// Others have been removed before this node saw them. Who is behind
			// reads of it in the log.
			next.ring = ring{first: rec.Seq}
		}
		e := next.timeline.entry(*rec)
		h.note(e)
		added = append(added, e)
		next.ring = next.push(e)
		next.ring = next.drop(next.excess(h.opts.Window, h.opts.WindowBytes))
	}
	h.view.store(next)
	h.engine.extended(added)
	h.moved.Broadcast()
}

// isDrained reports whether everything that was published is in the view, and no
// more will come.
func (h *Hub) isDrained() bool {
	select {
	case <-h.drained:
		return true
	default:
		return false
	}
}

// await waits until the view's head has reached seq, and returns whether it has.
func (h *Hub) await(ctx context.Context, seq uint64) bool {
	defer context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.moved.Broadcast()
	})()
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.view.load().last() < seq && ctx.Err() == nil {
		h.moved.Wait()
	}
	return h.view.load().last() >= seq
}
