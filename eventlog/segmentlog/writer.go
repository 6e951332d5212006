package segmentlog

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"example.com/tidings/eventlog"
)

// The bounds of what the writer writes at once. A message that comes meanwhile waits for that.
const (
	maxGroup = 4 << 20 // bytes, unless one message is larger
	maxTurn  = 2048    // messages of one request if it is alone

	// Otherwise a large batch does not hold up others: the next request waits until a group is on the disk.
	sharedGroup = 512 << 10 // bytes of a group, and up to a message more
	turn        = 256       // messages of each request
	small       = 64 << 10  // bytes of a request that goes before larger ones, at most
)

// A request is the messages of one Append.
type request struct {
	ctx      context.Context
	messages []eventlog.Message
	keys     []keyed // nil if no message has a key
	full     []bool  // the messages for whose topics there is no room; nil if there is for all
	results  []eventlog.Appended
	size     int // bytes of all frames
	next     int // the first message that the writer has not taken
	settled  int // messages whose result is final
	done     chan struct{}
}

// large reports whether others go before it.
func (r *request) large() bool { return r.size > small }

var requests = sync.Pool{New: func() any { return &request{done: make(chan struct{}, 1)} }}

// A writer writes requests in the order in which they come, small ones first and large ones in turns. While the disk syncs a group of
// messages, the next group gathers in the queue.
type writer struct {
	log *Log

	mu     sync.Mutex
	queue  []*request
	closed bool
	wake   chan struct{} // has room for one
	done   chan struct{} // closed when run has ended

	// What follows belongs to the writer's goroutine.
	waiting []*request // taken from the queue, not settled
	spare   []*request // for the queue
	alone   int        // groups of one request, one after the other

	seg    *segment
	f      file  // of seg
	size   int64 // of f: what is allocated
	off    int64 // where the next frame goes
	zeroed int64 // up to where zeros are written
	marked int64 // where the last mark is, or -1
	seq    uint64

	paused   time.Time     // until then large requests wait for the store
	patient  time.Time     // until then they wait for readers
	patience time.Duration // after a group that has some of them, for readers

	group group
}

// A group is what is written at once.
type group struct {
	buf     []byte
	records []eventlog.Record
	slots   []slot
	marks   []mark
	keys    []keyed
}

// A slot is where the result of a message goes.
type slot struct {
	r      *request
	i      int
	seq    uint64
	repeat bool // seq is that of the first message with the key
}

// push puts a request into the queue.
func (w *writer) push(r *request) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return eventlog.ErrClosed
	}
	w.queue = append(w.queue, r)
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return nil
}

// close ends run once the queue is written.
func (w *writer) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		close(w.wake)
	}
}

// run writes until close.
func (w *writer) run() {
	defer close(w.done)
	for open := true; open; {
		_, open = <-w.wake
		for w.linger(); w.take(); w.linger() {
			for len(w.waiting) > 0 {
				w.await()
				w.write()
				w.join()
			}
		}
	}
}

// The bounds of linger.
const (
	lingerRequests = 32 // while the disk syncs so many, as many others can come
	lingerYields   = 4  // one after the other that bring nothing: a client needs a moment, too
	lingerTime     = time.Millisecond
	lingerAlone    = 8 // groups of one request, after which a publisher is taken for the only one
)

// linger lets others run, as long as that soon brings new requests to a short queue. Larger
// groups cost fewer syncs, and nobody waits for a timer. It does so only if there are several
// publishers, and ends once others have run for long: they may have other work.
func (w *writer) linger() {
	if w.alone >= lingerAlone {
		return
	}
	start := time.Now()
	for n, vain := w.queued(), 0; n < lingerRequests && vain < lingerYields && time.Since(start) < lingerTime; {
		runtime.Gosched()
		vain++
		if now := w.queued(); now > n {
			n, vain = now, 0
		}
	}
}

func (w *writer) queued() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue)
}

// take takes the queue.
func (w *writer) take() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting, w.queue, w.spare = w.queue, w.spare[:0], w.waiting[:0]
	switch len(w.waiting) {
	case 0:
	case 1:
		w.alone++
	default:
		w.alone = 0
	}
	return len(w.waiting) > 0
}

// join adds the queue to the requests that have had a turn and are not settled.
func (w *writer) join() {
	if len(w.waiting) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = append(w.waiting, w.queue...)
	clear(w.queue)
	w.queue = w.queue[:0]
}

// write writes a group of the waiting requests, and settles it.
func (w *writer) write() {
	g := &w.group
	before := w.seq
	now := w.log.clock.Now()
	err := w.gather(now)
	gathered := g.records
	if err == nil && len(g.buf) > 0 {
		err = w.commit(now)
	}
	if err != nil {
		w.seq = before
		w.log.index.keys.forget(g.keys)
		g.records = g.records[:0]
	} else if len(g.records) > 0 {
		w.log.index.add(g.records, g.keys)
		w.log.publish(slices.Clone(g.records))
	}
	n, large := len(g.records), false
	if last := len(g.slots) - 1; last >= 0 {
		large = g.slots[last].r.large() // they come last
	}
	w.settle(err)
	clear(gathered)
	clear(g.slots)
	*g = group{buf: g.buf[:0], records: g.records[:0], slots: g.slots[:0], marks: g.marks[:0], keys: g.keys[:0]}
	if cap(g.buf) > 2*maxGroup {
		g.buf = nil
	}
	w.pause(n, large)
}

// pause lets the readers and the store follow after a group of n records, of which large requests have some: such
// requests wait, and all if the store is far behind.
func (w *writer) pause(n int, large bool) {
	d, far := w.log.index.pause(n)
	if far {
		time.Sleep(d)
	}
	now := time.Now()
	if until := now.Add(d); !far && until.After(w.paused) {
		w.paused = until
	}
	if large {
		w.patient = now.Add(w.patience)
	}
}

// Large requests wait while a reader that follows the log is further behind than mostLag records, but
// no longer than mostPatience after the last group of theirs: a small request waits for what is before it.
const (
	mostLag      = maxTurn
	mostPatience = 20 * time.Millisecond
)

// holds returns how long large requests have to wait for now, at most.
func (w *writer) holds() time.Duration {
	now := time.Now()
	d := w.paused.Sub(now)
	if p := w.patient.Sub(now); p > d && w.log.lag() > mostLag {
		d = p
	}
	return d
}

// await waits while large requests have to, and there are no others.
func (w *writer) await() {
	for !slices.ContainsFunc(w.waiting, func(r *request) bool { return !r.large() }) {
		d := w.holds()
		if d <= 0 {
			return
		}
		select {
		case _, open := <-w.wake:
			if !open {
				return
			}
			w.join()
		case <-w.log.followed:
		case <-time.After(d):
		}
	}
}

// gather puts messages into the group until it is full, or no message is left. If large requests wait, the small ones
// before them have up to half of the group.
func (w *writer) gather(now time.Time) error {
	if err := w.log.Err(); err != nil {
		return err
	}
	if len(w.waiting) == 1 {
		_, err := w.takeFrom(w.waiting[0], maxTurn, maxGroup, maxGroup, now)
		return err
	}
	limit := maxGroup
	if slices.ContainsFunc(w.waiting, (*request).large) {
		limit = sharedGroup / 2
	}
	some := false
	for _, r := range w.waiting {
		if r.large() {
			continue
		}
		some = true
		if full, err := w.takeFrom(r, turn, maxGroup, limit, now); err != nil {
			return err
		} else if full {
			break
		}
	}
	if some && w.holds() > 0 {
		return nil
	}
	for _, r := range w.waiting {
		if !r.large() {
			continue
		}
		if full, err := w.takeFrom(r, turn, sharedGroup/len(w.waiting), sharedGroup, now); full || err != nil {
			return err
		}
	}
	return nil
}

// takeFrom puts messages of a request into the group: up to so many, until they have a share of its bytes, and as long as the group
// is below a limit. It reports whether the group is full.
func (w *writer) takeFrom(r *request, most, share, limit int, now time.Time) (full bool, err error) {
	if err := r.ctx.Err(); err != nil && r.next == 0 {
		for i := range r.results {
			r.results[i].Err = err
		}
		r.next, r.settled = len(r.messages), len(r.messages)
	}
	begin, nanos := len(w.group.buf), nanosOf(now)
	for end := min(len(r.messages), r.next+most); r.next < end && len(w.group.buf)-begin < share; r.next++ {
		if len(w.group.buf) >= limit {
			return true, nil
		}
		if full, err := w.put(r, r.next, now, nanos); full || err != nil {
			return full, err
		}
	}
	return false, nil
}

// put puts a message into the group. It reports whether the group has no room for it.
func (w *writer) put(r *request, i int, now time.Time, nanos int64) (full bool, err error) {
	g, m := &w.group, &r.messages[i]
	size := frameSize(m)
	if limit := w.log.largest(); int64(size) > limit {
		r.results[i].Err = &eventlog.TooLargeError{Size: int64(size), Limit: limit}
		r.settled++
		return false, nil
	}
	if m.Key != "" {
		switch first, err := w.log.index.keys.used(r.keys[i], now); {
		case err != nil:
			// Append hands the rest in again.
			for k := i; k < len(r.messages); k++ {
				r.results[k].Err = errStore
				r.settled++
			}
			r.next = len(r.messages) - 1
			return false, nil
		case first.seq != 0 && first.content != r.keys[i].content:
			r.results[i].Err = eventlog.ErrKeyConflict
			r.settled++
			return false, nil
		case first.seq != 0:
			g.slots = append(g.slots, slot{r, i, first.seq, true})
			return false, nil
		case w.log.index.keys.count() >= w.log.opts.MaxKeys:
			r.results[i].Err = eventlog.ErrTooManyKeys
			r.settled++
			return false, nil
		}
	}
	if r.full != nil && r.full[i] {
		r.results[i].Err = eventlog.ErrTooManyTopics
		r.settled++
		return false, nil
	}
	switch {
	case len(g.buf) > 0 && len(g.buf)+size > maxGroup:
		return true, nil
	case w.off+int64(len(g.buf)+size) <= w.size:
	case len(g.slots) > 0:
		return true, nil
	default:
		if err := w.roll(int64(size)); err != nil {
			return false, err
		}
	}
	off := w.off + int64(len(g.buf))
	w.seq++
	if w.marked < 0 || off-w.marked >= markBytes {
		g.marks = append(g.marks, mark{w.seq, off, nanos})
		w.marked = off
	}
	g.buf = appendFrame(g.buf, w.seg.salt, w.seq, nanos, m)
	g.records = append(g.records, eventlog.Record{Seq: w.seq, Time: now, Topic: m.Topic, Type: m.Type, Data: m.Data})
	g.slots = append(g.slots, slot{r, i, w.seq, false})
	if m.Key != "" {
		k := r.keys[i]
		k.seq, k.nanos = w.seq, nanos
		w.log.index.keys.remember(k)
		g.keys = append(g.keys, k)
	}
	return false, nil
}

// largest returns how large a frame may be.
func (l *Log) largest() int64 {
	if l.opts.MaxBytes > 0 {
		return min(maxFrame, l.opts.MaxBytes)
	}
	return maxFrame
}

// commit writes the group, and forces it to the disk if that comes before the answer.
func (w *writer) commit(now time.Time) error {
	g := &w.group
	if _, err := w.f.WriteAt(g.buf, w.off); err != nil {
		w.marked = -1
		err = w.log.broken(err)
		if errors.Is(err, eventlog.ErrFull) {
			// Otherwise a start would find messages that were refused, after a loss of power under
			// the numbers of others.
			if err := errors.Join(w.f.Truncate(w.off), w.f.Truncate(w.size), w.f.sync()); err != nil {
				return w.log.fail(err)
			}
		}
		return err
	}
	always := w.log.opts.Sync == 0
	if always {
		err := w.zero(w.off + int64(len(g.buf)))
		if err := cmp.Or(err, w.f.sync()); err != nil {
			return w.log.fail(err)
		}
	} else {
		w.log.syncer.wrote(w.seg, w.seq)
	}
	w.off += int64(len(g.buf))
	w.log.retention.grow(w.seg, g.marks, w.seq, w.off, len(g.buf))
	err := w.log.state.update(func(st *state) {
		st.acknowledged, st.nanos = w.seq, nanosOf(now)
		if always {
			st.synced = w.seq
		}
	})
	if err != nil && !noRoom(err) { // an older state tells the next start less
		return w.log.fail(err)
	}
	if err := w.log.retention.wrote(); err != nil && w.log.Err() == nil {
		w.log.opts.Logger.Warn("old messages cannot be told from new ones; the log tries again", "error", err)
	}
	if w.off > w.size/2 {
		w.log.spares.want()
	}
	return nil
}

// Zeros are written ahead of groups that are small.
const (
	zeroAhead = 64 << 10
	zeroGroup = 8 << 10
)

var ahead [zeroAhead]byte

// zero writes zeros where the next groups come, if the last one ended at an offset and was
// small. To sync what is written into allocated room for the first time, a file system
// commits its journal. To sync what is written over zeros, it need not.
func (w *writer) zero(end int64) error {
	if len(w.group.buf) > zeroGroup || end+zeroGroup <= w.zeroed {
		return nil
	}
	from, to := max(end, w.zeroed), min(end+zeroAhead, w.size)&^4095
	if from >= to {
		return nil
	}
	w.zeroed = to
	if _, err := w.f.WriteAt(ahead[:to-from], from); err != nil && !noRoom(err) {
		return err
	}
	return nil
}

// settle gives the messages of the group their results. After an error, all waiting
// requests have it. After a failure, those of which nothing was written have that.
func (w *writer) settle(err error) {
	for _, s := range w.group.slots {
		s.r.settled++
		switch {
		case err != nil:
			s.r.results[s.i].Err = err
		case s.repeat:
			s.r.results[s.i] = eventlog.Appended{ID: w.log.epochs.Position(s.seq), Repeat: true}
		default:
			s.r.results[s.i].ID = eventlog.Position{Epoch: w.log.epoch, Seq: s.seq}
		}
	}
	left := w.waiting[:0]
	for _, r := range w.waiting {
		if err != nil {
			rest := err
			if failure := w.log.Err(); failure != nil && r.next == 0 {
				rest = failure
			}
			for ; r.next < len(r.messages); r.next++ {
				r.results[r.next].Err = rest
				r.settled++
			}
		}
		if r.settled < len(r.messages) {
			left = append(left, r)
			continue
		}
		r.done <- struct{}{}
	}
	clear(w.waiting[len(left):])
	w.waiting = left
}

// roll goes on with a new segment, which has room for a frame of a size.
func (w *writer) roll(size int64) error {
	if w.seg != nil {
		if err := w.log.there(w.seg, w.f); err != nil {
			return err
		}
	}
	if err := w.log.save(); err != nil {
		return w.log.broken(err)
	}
	next := w.seq + 1
	s, f, allocated, err := w.log.spares.take(next, size)
	switch {
	case errors.Is(err, eventlog.ErrFull), tooBusy(err): // nothing was written
		return err
	case err != nil:
		return w.log.broken(err)
	}
	if old := w.seg; old != nil {
		w.log.sealing.Go(func() { w.log.seal(old) })
		old.release()
	}
	w.seg, w.f, w.size, w.off, w.zeroed, w.marked = s, f, allocated, 0, 0, -1
	w.log.written.Store(s) // before retention may remove the one before
	w.log.addSegment(s)
	return nil
}
