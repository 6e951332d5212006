// Package jetlog is the durable [hub.Log], on NATS JetStream: a server embedded in
// the process by default, with no port open and its files in one folder, see
// [Open]; or a server or cluster of servers elsewhere, see [Connect].
//
// # What survives
//
// A message that was acknowledged has been given to the operating system, and so
// survives the death of the process. The death of the machine may take what the
// last Options.Sync interval brought, and nothing with [SyncAlways]; of an
// external server, its own settings and the number of replicas say what survives.
//
// What did not survive is told. Each start of an embedded log opens a new
// [hub.Epoch] at what it finds, so that an id of what was lost is known as such
// when its sequence number has been given to another message. And at each start
// all that is stored is read and verified, so that what is missing or damaged
// between the first message and the last is known, and said by Read.
//
// A batch is stored in its order. A crash in the middle leaves a beginning of it:
// in an embedded log messages of one Append are sent without waiting for each
// other, over one connection, which JetStream stores in order; to an external
// server each is sent when the one before is acknowledged.
package jetlog

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"example.com/tidings/hub"
)

// A Log is a [hub.Log] on JetStream. All methods may be called concurrently.
type Log struct {
	names  naming
	logger *slog.Logger
	core   atomic.Pointer[core]

	embedded *embedded // nil with an external server
	external *external // nil with an embedded one

	closing   context.Context // done when Close is called
	close     context.CancelFunc
	closeOnce sync.Once
	closeErr  error
}

var _ hub.Log = (*Log)(nil)

// A core is what serves a log until it is opened anew.
type core struct {
	src    source
	pub    *publisher
	head   *head
	holes  *holes
	wide   wide
	epochs []hub.Epoch
	gone   chan struct{} // closed when another one takes over
}

func newLog(stream string, logger *slog.Logger) *Log {
	l := &Log{names: namingOf(stream), logger: logger}
	l.closing, l.close = context.WithCancel(context.Background())
	return l
}

// use calls f with the core. When that is closed underneath f, to be opened anew,
// f is called again with the next one.
func (l *Log) use(ctx context.Context, f func(*core) error) error {
	for {
		if l.closing.Err() != nil {
			return hub.ErrClosed
		}
		c := l.core.Load()
		err := f(c)
		if l.closing.Err() != nil {
			return hub.ErrClosed
		}
		if !errors.Is(err, errReopened) {
			return err
		}
		select {
		case <-c.gone:
		case <-l.closing.Done():
			return hub.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(requestTimeout):
			return err
		}
	}
}

// State implements [hub.Log].
func (l *Log) State(ctx context.Context) (st hub.State, err error) {
	err = l.use(ctx, func(c *core) error {
		st, err = c.src.state(ctx)
		return err
	})
	return st, err
}

// Epochs implements [hub.Log]. An external stream has one epoch, which is made
// with it.
func (l *Log) Epochs() []hub.Epoch { return l.core.Load().epochs }

// Read implements [hub.Log]. What an embedded log lacks is known from its start,
// and what is damaged later is found by a reader of all topics. To a reader that
// is about to be overtaken by retention it may say so a batch too early.
func (l *Log) Read(ctx context.Context, q hub.Query) (b hub.Batch, err error) {
	err = l.use(ctx, func(c *core) error {
		b, err = read(ctx, c.src, c.holes, l.names, q)
		return err
	})
	if err != nil {
		return hub.Batch{}, err
	}
	return b, nil
}

// Tail implements [hub.Log]. It ends with an error when the log is opened anew,
// which gives a new epoch: where to go on is to be found out again.
func (l *Log) Tail(ctx context.Context, after uint64) iter.Seq2[[]hub.Record, error] {
	return func(yield func([]hub.Record, error) bool) {
		if l.external != nil {
			l.external.tail(ctx, l, after, yield)
		} else {
			l.tail(ctx, l.core.Load(), after, yield)
		}
	}
}

// What Tail yields at a time.
const (
	tailRecords = 256
	tailBytes   = 1 << 20
)

// tail reads on whenever something was acknowledged.
func (l *Log) tail(ctx context.Context, c *core, after uint64, yield func([]hub.Record, error) bool) {
	for ctx.Err() == nil && l.closing.Err() == nil {
		last, further := c.head.wait()
		if last > after {
			records, err := c.src.scan(ctx, after+1, tailRecords, tailBytes)
			switch {
			case ctx.Err() != nil || l.closing.Err() != nil:
				return
			case err != nil:
				yield(nil, err)
				return
			case len(records) == 0:
				after = last // retention has removed it
			case !yield(records, nil):
				return
			default:
				after = records[len(records)-1].Seq
			}
			continue
		}
		select {
		case <-further:
		case <-ctx.Done():
		case <-l.closing.Done():
		case <-c.gone:
			yield(nil, errReopened)
			return
		}
	}
}

// Get implements [hub.Log].
func (l *Log) Get(ctx context.Context, seq uint64) (r hub.Record, err error) {
	err = l.use(ctx, func(c *core) error {
		if seq == 0 {
			return hub.ErrNotFound
		}
		r, err = c.src.get(ctx, seq)
		return err
	})
	return r, err
}

// Newest implements [hub.Log]. Where the filters match many topics, more than 4,096 of an
// embedded log or 1,024 of an external one, it reads all records on the way.
func (l *Log) Newest(ctx context.Context, filters []hub.Filter, after, upTo uint64, limit int) (seqs []uint64, through uint64, err error) {
	err = l.use(ctx, func(c *core) error {
		seqs, through, err = newest(ctx, c, l.names, filters, after, upTo, limit)
		return err
	})
	return seqs, through, err
}

// Back implements [hub.Log].
func (l *Log) Back(ctx context.Context, filters []hub.Filter, n int, upTo uint64) (after uint64, err error) {
	err = l.use(ctx, func(c *core) error {
		after, err = back(ctx, c.src, c.holes, l.names, filters, n, upTo)
		return err
	})
	return after, err
}

// At implements [hub.Log].
func (l *Log) At(ctx context.Context, t time.Time) (seq uint64, err error) {
	err = l.use(ctx, func(c *core) error {
		seq, err = at(ctx, c.src, l.names, t)
		return err
	})
	return seq, err
}

// Count implements [hub.Log]. With an external server it reads what it counts.
func (l *Log) Count(ctx context.Context, filters []hub.Filter, after uint64) (n, through uint64, err error) {
	err = l.use(ctx, func(c *core) error {
		if d, ok := c.src.(*directSource); ok {
			n, through, err = d.count(l.names.selection(filters), after+1)
		} else {
			n, through, err = count(ctx, c.src, c.holes, l.names, filters, after)
		}
		return err
	})
	return n, max(through, after), err
}

// Topics implements [hub.Log].
func (l *Log) Topics(ctx context.Context, filter hub.Filter, after string, limit int) (infos []hub.TopicInfo, err error) {
	err = l.use(ctx, func(c *core) error {
		infos, err = topics(ctx, c.src, filter, after, limit)
		return err
	})
	return infos, err
}

// Close implements [hub.Log]. What an embedded log has stored is on the disk when
// it returns, and the folder can be opened again.
func (l *Log) Close() error {
	l.closeOnce.Do(func() {
		l.close()
		if l.embedded != nil {
			l.closeErr = l.embedded.close(l)
		} else {
			l.external.close(l)
		}
	})
	return l.closeErr
}
