package segmentlog

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/gofrs/flock"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/logclock"
	"example.com/tidings/topics"
)

// generation is the only generation of a log: it is opened once.
const generation = 1

// A Log is an [eventlog.Log] in a folder. All methods may be called concurrently.
type Log struct {
	opts    Options
	files   fileSystem
	lock    *flock.Flock
	clock   *logclock.Clock
	state   *stateKeeper
	epochs  eventlog.Timeline
	epoch   string // the id of the last one
	unsaved bool   // the writer's: see save
	id      string // of the log, from its format file
	began   uint64 // where the last epoch begins: earlier processes have lost what they had from here on

	segments  atomic.Pointer[[]*segment] // ascending; changed under changing
	changing  sync.Mutex
	written   atomic.Pointer[segment] // the newest one, which the writer writes to, or nil
	first     atomic.Uint64           // the first number that is retained
	writer    *writer
	syncer    *syncer
	spares    *spares
	retention *retention
	index     *index
	losses    *losses
	running   sync.WaitGroup // goroutines that end with the log
	sealing   sync.WaitGroup // goroutines that end soon

	closing   context.Context // done when Close is called
	close     context.CancelFunc
	closeOnce sync.Once
	closeErr  error
	failure   atomic.Pointer[failure]
	failing   chan struct{} // closed when there is a failure

	mu     sync.Mutex
	last   uint64 // the greatest number that readers may know
	recent recent
	grown  chan struct{} // closed when last grows

	followers []*follower   // guarded by mu
	followed  chan struct{} // has room for one: a follower has gone on
}

var (
	_ eventlog.Log    = (*Log)(nil)
	_ eventlog.Failer = (*Log)(nil)
)

// Append implements [eventlog.Log]. A message that is larger than 16 MiB, or than
// Options.MaxBytes, gets [eventlog.ErrTooLarge]. Messages of more than 64 KiB together wait for
// readers of Tail that are behind, for up to 20 milliseconds at a time.
func (l *Log) Append(ctx context.Context, messages []eventlog.Message) []eventlog.Appended {
	if len(messages) == 0 {
		return nil
	}
	r := requests.Get().(*request)
	r.ctx, r.size, r.next, r.settled, r.full = ctx, 0, 0, 0, nil
	r.messages = append(r.messages[:0], messages...)
	for i := range r.messages {
		r.size += frameSize(&r.messages[i])
	}
	r.results = make([]eventlog.Appended, len(messages))
	err := cmp.Or(l.open(), ctx.Err(), l.Err())
	if err == nil {
		err = l.index.keys.prepare(ctx, r)
	}
	if err == nil {
		l.index.admit(r)
		err = l.writer.push(r)
	}
	if err != nil {
		return all(len(messages), err)
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		return all(len(messages), ctx.Err()) // the writer has the request
	}
	l.retention.use()
	results := r.results
	clear(r.messages)
	*r = request{messages: r.messages[:0], keys: r.keys[:0], done: r.done}
	if cap(r.messages) <= 1024 {
		requests.Put(r)
	}
	for i := range results {
		if results[i].Err == errStore {
			// The index has failed after it was asked for the keys.
			copy(results[i:], l.Append(ctx, messages[i:]))
			break
		}
	}
	return results
}

func all(n int, err error) []eventlog.Appended {
	results := make([]eventlog.Appended, n)
	for i := range results {
		results[i].Err = err
	}
	return results
}

// publish lets readers know of records that are stored.
func (l *Log) publish(records []eventlog.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = records[len(records)-1].Seq
	l.recent.add(records)
	close(l.grown)
	l.grown = make(chan struct{})
}

// lastSeq returns the greatest number that readers may know.
func (l *Log) lastSeq() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// open returns an error if the log is closed.
func (l *Log) open() error {
	if l.closing.Err() != nil {
		return eventlog.ErrClosed
	}
	return nil
}

// ended returns the error of a method, which is ErrClosed if the log was closed meanwhile.
func (l *Log) ended(err error) error {
	if err != nil && l.closing.Err() != nil {
		return eventlog.ErrClosed
	}
	return err
}

// State implements [eventlog.Log].
func (l *Log) State(context.Context) (eventlog.State, error) {
	if err := l.open(); err != nil {
		return eventlog.State{}, err
	}
	last := l.lastSeq()
	return eventlog.State{
		First: min(l.first.Load(), last+1), Last: last, Epochs: l.epochs, Generation: generation, KeyWindow: l.opts.DedupWindow,
	}, nil
}

// The bounds of what Tail reads at a time.
const (
	tailRecords = 256
	tailBytes   = 1 << 20
)

// Tail implements [eventlog.Log].
func (l *Log) Tail(ctx context.Context, gen, after uint64) iter.Seq2[[]eventlog.Record, error] {
	return func(yield func([]eventlog.Record, error) bool) {
		if gen != generation {
			yield(nil, eventlog.ErrReopened)
			return
		}
		l.retention.use()
		f := l.follow()
		defer l.unfollow(f)
		everything := topics.MustFilters("**")
		for ctx.Err() == nil && l.closing.Err() == nil {
			l.mu.Lock()
			last, grown := l.last, l.grown
			records, through, ok := l.recent.after(after)
			f.after, f.live = after, ok || after >= last
			l.mu.Unlock()
			select {
			case l.followed <- struct{}{}:
			default:
			}
			switch {
			case after >= last:
				select {
				case <-grown:
				case <-ctx.Done():
				case <-l.closing.Done():
				}
				continue
			case !ok:
				b, err := l.Read(ctx, eventlog.Query{Filters: everything, After: after, UpTo: last, MaxRecords: tailRecords, MaxBytes: tailBytes})
				if err != nil {
					if ctx.Err() == nil && l.closing.Err() == nil {
						yield(nil, err)
					}
					return
				}
				records, through = b.Records, b.Through
			}
			after = through
			if len(records) > 0 && !yield(records, nil) {
				return
			}
		}
	}
}

// A follower is a reader that follows the log.
type follower struct {
	after uint64 // it has done with the records up to here
	live  bool   // it needs none that is on the disk only
}

func (l *Log) follow() *follower {
	f := &follower{}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.followers = append(l.followers, f)
	return f
}

func (l *Log) unfollow(f *follower) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.followers, f)
	l.followers = slices.Delete(l.followers, i, i+1)
}

// lag returns how many records the slowest follower is behind.
func (l *Log) lag() (n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.followers {
		if f.live {
			n = max(n, l.last-min(l.last, f.after))
		}
	}
	return n
}

// list returns the segments, ascending. Callers do not change the slice.
func (l *Log) list() []*segment { return *l.segments.Load() }

// addSegment adds the newest segment.
func (l *Log) addSegment(s *segment) {
	l.changing.Lock()
	defer l.changing.Unlock()
	list := append(slices.Clone(l.list()), s)
	l.segments.Store(&list)
}

// at returns the index of the segment that has a number, if any has it, and -1 if the
// number is before all of them.
func at(list []*segment, seq uint64) int {
	return sort.Search(len(list), func(i int) bool { return list[i].first > seq }) - 1
}

// seal ends a segment that gets no more frames.
func (l *Log) seal(s *segment) {
	f, err := s.acquire()
	if err != nil {
		return // it is gone
	}
	_, end := s.extent()
	err = f.Truncate(end)
	s.release()
	if err = errors.Join(err, s.saveSidecar()); err != nil && l.closing.Err() == nil {
		l.opts.Logger.Warn("a segment of the log cannot be completed; the next start reads it whole", "file", s.path, "error", err)
	}
}
