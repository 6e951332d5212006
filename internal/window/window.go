package window

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/yield"
	"example.com/tidings/topics"
)

// Options configure a [Window]. There are no defaults.
type Options struct {
	MaxEntries int
	MaxBytes   int           // of memory, with the forms that were encoded
	Shared     bool          // the log holds the records in memory anyway
	Pinned     *budget.Bytes // counts what others hold of entries that have left the window
	Logger     *slog.Logger
}

// A Listener is told of changes of the window, in their order, under a lock: its methods
// do not wait for anything.
type Listener interface {
	Extended(entries []*Entry)
	Renewed(v *View) // it was read from the log anew
	Shrunk(v *View)  // it has lost its oldest entries, without new ones
}

// A Window follows a log, and holds its newest entries. Its methods may be called
// concurrently.
type Window struct {
	log  eventlog.Log
	opts Options

	ctx     context.Context // done when Close is called
	cancel  context.CancelFunc
	running sync.WaitGroup

	view    atomic.Pointer[View] // stored under mu
	grown   chan struct{}        // receives when the window takes too much memory
	invalid invalids
	forIDs  atomic.Int64
	holes   uint64 // the version of the log's holes that are erased; only expire uses it

	mu       sync.Mutex
	moved    sync.Cond // of mu: the view has changed, or the context of a waiter is done
	listener Listener
	failure  error // why the log cannot be followed just now

	// A publisher does not wait for mu. Whoever has mu may take acks.
	acks         sync.Mutex
	acknowledged uint64 // the greatest number that this log has given to a publisher; guarded by acks
}

// New returns a window that holds the newest entries of a log. It fails if they cannot be
// read.
func New(ctx context.Context, log eventlog.Log, opts Options) (*Window, error) {
	w := &Window{log: log, opts: opts, grown: make(chan struct{}, 1)}
	w.moved.L = &w.mu
	w.ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := w.reload(ctx); err != nil {
		w.cancel()
		return nil, err
	}
	return w, nil
}

// Follow has the window follow the log until Close, and the listener be told of that. It
// is called once.
func (w *Window) Follow(l Listener) {
	w.listener = l
	w.running.Go(w.tail)
	w.running.Go(w.expire)
}

// Close ends following the log.
func (w *Window) Close() {
	w.cancel()
	w.running.Wait()
}

// Load returns what the window holds now.
func (w *Window) Load() *View { return w.view.Load() }

// Context is done when the window is closed.
func (w *Window) Context() context.Context { return w.ctx }

// Invalid returns how many records the window has seen that cannot be sent. It stops at
// 1,000.
func (w *Window) Invalid() uint64 { return w.invalid.count() }

// Err returns why the log cannot be followed just now, or nil.
func (w *Window) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

func (w *Window) setErr(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failure = err
}

// reload reads the view from the log: at the start, and when the log was opened anew.
func (w *Window) reload(ctx context.Context) error {
	state, err := w.log.State(ctx)
	if err != nil {
		return fmt.Errorf("the log's state: %w", err)
	}
	after := state.First - 1
	if n := uint64(w.opts.MaxEntries); state.Last > n {
		after = max(after, state.Last-n)
	}
	if cut, ok := state.Epochs.LastCut(); ok {
		after = max(after, cut) // whoever passes the cut is told by the log's reader
	}
	next := View{Timeline: state.Epochs, Generation: state.Generation, KeyWindow: state.KeyWindow}
	next.account = &Account{shared: w.opts.Shared, pinned: w.opts.Pinned, grown: w.grown}
	next.begin(after + 1)
	everything := topics.MustFilters("**")
	for after < state.Last {
		b, err := w.log.Read(ctx, eventlog.Query{
			Filters: everything, After: after, UpTo: state.Last, Generation: state.Generation,
			MaxRecords: 1024, MaxBytes: 4 << 20,
		})
		if err != nil {
			return fmt.Errorf("read the newest messages: %w", err)
		}
		if b.Hole > 0 {
			next.begin(b.Hole + 1)
		}
		for _, rec := range b.Records {
			w.push(&next, rec)
		}
		after = b.Through
	}
	if next.Last() < state.Last { // the newest ones are lost
		next.begin(state.Last + 1)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	next.eras = []era{{last: state.Last}}
	was := w.view.Load()
	if was != nil {
		// Another generation of the same epoch is a log that has lost its end. If it
		// already reaches further than the window did, the place of the loss is unknown.
		same := was.Timeline[len(was.Timeline)-1].ID == next.Timeline[len(next.Timeline)-1].ID
		lost := same && was.Generation != next.Generation && state.Last >= was.Last()
		next.eras = append(was.eras[:len(was.eras):len(was.eras)], era{state.Last, lost})
	}
	w.acks.Lock()
	w.view.Store(&next)
	w.acknowledged = min(w.acknowledged, state.Last)
	w.acks.Unlock()
	if was != nil {
		for _, e := range was.From(0) {
			e.Disown()
		}
	}
	if w.listener != nil {
		w.listener.Renewed(&next)
	}
	w.moved.Broadcast()
	return nil
}

// push adds a record to a view that is being made, and returns its entry.
func (w *Window) push(v *View, rec eventlog.Record) *Entry {
	if rec.Seq != v.Last()+1 {
		// Records between were removed before this node read them. A stream that is
		// behind learns that from the log.
		v.begin(rec.Seq)
	}
	e := w.Entry(v.Timeline, rec)
	e.Own(v.account)
	v.Ring = v.Push(e)
	v.shrink(w.opts.MaxEntries, w.opts.MaxBytes)
	return e
}

// Entry returns the entry of a record, and logs one that cannot be sent.
func (w *Window) Entry(names eventlog.Timeline, rec eventlog.Record) *Entry {
	e := NewEntry(names, rec)
	if e.Gap() != nil && w.invalid.add(e.ID) {
		w.opts.Logger.Error("hub: a message in the log cannot be sent, because its type or topic is not one; streams get a gap instead", "topic", e.Topic, "id", e.ID)
	}
	return e
}

// tail follows the log until the window is closed.
func (w *Window) tail() {
	const pause, longest = 50 * time.Millisecond, 2 * time.Second
	for wait := pause; ; wait = min(max(2*wait, pause), longest) {
		v := w.view.Load()
		for records, err := range w.log.Tail(w.ctx, v.Generation, v.Last()) {
			if err != nil {
				w.setErr(fmt.Errorf("follow the log: %w", err))
				w.opts.Logger.Warn("hub: following the log failed; trying again", "error", err)
				if errors.Is(err, eventlog.ErrReopened) {
					wait = 0 // it can be followed anew at once
				}
				break
			}
			w.setErr(nil)
			w.extend(records)
			wait = pause
		}
		for current := false; !current; wait = min(max(2*wait, pause), longest) {
			select {
			case <-w.ctx.Done():
				return
			case <-time.After(wait):
			}
			switch err := w.renew(); {
			case err == nil:
				w.setErr(nil)
				current = true
			case errors.Is(err, eventlog.ErrClosed):
				return
			case w.ctx.Err() == nil:
				w.setErr(err)
				w.opts.Logger.Warn("hub: reading the log failed; trying again", "error", err)
			}
		}
	}
}

// renew reads the view anew if the log has another generation, or is shorter than it was.
func (w *Window) renew() error {
	state, err := w.log.State(w.ctx)
	if v := w.view.Load(); err == nil && (state.Generation != v.Generation || state.Last < v.Last()) {
		err = w.reload(w.ctx)
	}
	return err
}

// expireInterval is how often the window follows the log's retention.
const expireInterval = time.Second

// expire drops entries that the log no longer retains. Otherwise a stream would deliver
// messages that the history reports as expired. It also drops the oldest ones when the forms
// that were encoded take too much memory.
func (w *Window) expire() {
	ticker := time.NewTicker(expireInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-w.grown:
			w.shrink()
			continue
		case <-w.ctx.Done():
			return
		}
		state, err := w.log.State(w.ctx)
		if err != nil {
			continue // tail reports it
		}
		w.mu.Lock()
		if next := *w.view.Load(); next.expire(state) {
			w.view.Store(&next)
		}
		w.mu.Unlock()
		w.erase()
	}
}

// erase makes a gap of each entry whose record the log is known to lack.
func (w *Window) erase() {
	log, ok := w.log.(eventlog.HoleFinder)
	if !ok {
		return
	}
	v := w.view.Load()
	holes, version := log.Holes(v.First()-1, v.Last(), w.holes)
	for _, hole := range holes {
		for _, e := range v.From(hole.First) {
			if e.Seq > hole.Last {
				break
			}
			e.Erase(v.Timeline, hole.Reason)
		}
	}
	w.holes = version
}

// shrink drops the oldest entries until the window takes no more memory than it may.
func (w *Window) shrink() {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := *w.view.Load()
	if next.shrink(w.opts.MaxEntries, w.opts.MaxBytes) {
		w.view.Store(&next)
		w.listener.Shrunk(&next)
	}
}

// The log hands on what it has written at once, which may be thousands of records. The view gets so many
// at a time, and each takes about so many nanoseconds.
const (
	mostAtOnce  = 256
	recordNanos = 600
)

// extend adds records to the view.
func (w *Window) extend(records []eventlog.Record) {
	var work yield.Work
	for some := range slices.Chunk(records, mostAtOnce) {
		w.add(some)
		work.Did(len(some) * recordNanos)
	}
}

// add adds a few records to the view, and tells the listener and those who wait.
func (w *Window) add(records []eventlog.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := *w.view.Load()
	added := make([]*Entry, 0, len(records))
	for _, rec := range records {
		if rec.Seq > next.Last() {
			added = append(added, w.push(&next, rec))
		}
	}
	if w.opts.Shared { // or the window would hold what the log has dropped
		if state, err := w.log.State(w.ctx); err == nil {
			next.expire(state)
		}
	}
	w.view.Store(&next)
	w.listener.Extended(added)
	w.moved.Broadcast()
}

// Acknowledged notes that the log has given a position to a publisher.
func (w *Window) Acknowledged(id eventlog.Position) {
	w.acks.Lock()
	defer w.acks.Unlock()
	names := w.view.Load().Timeline
	if names[len(names)-1].ID == id.Epoch { // otherwise the log is about to be read anew
		w.acknowledged = max(w.acknowledged, id.Seq)
	}
}

// Head returns the current view and the greatest sequence number that was acknowledged to
// a publisher or is in the view.
func (w *Window) Head() (*View, uint64) {
	w.acks.Lock()
	defer w.acks.Unlock()
	v := w.view.Load()
	return v, max(v.Last(), w.acknowledged)
}

// Await waits until the view reaches a sequence number, and reports whether it does.
func (w *Window) Await(ctx context.Context, seq uint64) bool {
	return w.await(ctx, func(v *View) bool { return v.Last() >= seq })
}

// mostForIDs bounds how many wait at a time for ids that clients have sent. For others there is no
// wait: ids are untrusted.
const mostForIDs = 1024

// AwaitID is Await for the number of an id, and waits for its epoch, too.
func (w *Window) AwaitID(ctx context.Context, id eventlog.Position) {
	defer w.forIDs.Add(-1)
	if w.forIDs.Add(1) > mostForIDs || !w.await(ctx, func(v *View) bool { return !v.Timeline.IsNewer(id.Epoch) }) {
		return
	}
	if _, reason := w.Load().Timeline.Resolve(id); reason == "" {
		w.Await(ctx, id.Seq)
	}
}

func (w *Window) await(ctx context.Context, holds func(*View) bool) bool {
	defer context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.moved.Broadcast()
	})()
	w.mu.Lock()
	defer w.mu.Unlock()
	for !holds(w.Load()) && ctx.Err() == nil {
		w.moved.Wait()
	}
	return holds(w.Load())
}

// Freeze calls f while the window cannot change, for tests.
func (w *Window) Freeze(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// maxInvalid bounds how many records that cannot be sent are counted and logged.
const maxInvalid = 1000

// invalids remembers records that cannot be sent, so that each is logged once.
type invalids struct {
	mu    sync.Mutex
	known map[eventlog.Position]struct{}
}

func (v *invalids) count() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return uint64(len(v.known))
}

// add remembers an id, and reports whether it is to be logged.
func (v *invalids) add(id eventlog.Position) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, known := v.known[id]; known || len(v.known) == maxInvalid {
		return false
	}
	if v.known == nil {
		v.known = map[eventlog.Position]struct{}{}
	}
	v.known[id] = struct{}{}
	return true
}
