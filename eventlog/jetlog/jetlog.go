// Package jetlog has the durable [eventlog.Log], on NATS JetStream. [Open] embeds the
// server in the process: it opens no port and keeps its files in one folder. [Connect]
// uses a server or a cluster elsewhere.
//
// # What survives
//
// An acknowledged message has been given to the operating system, and so survives the
// death of the process. The death of the machine may take the messages of the last
// Options.Sync interval. With [SyncAlways] it takes none. On an external server, its
// settings and the number of replicas decide what survives.
//
// The log reports every loss. Each start of an embedded log opens a new
// [eventlog.Epoch] after the last message that it finds. So the id of a lost message
// stays known as lost when its sequence number goes to another message. Each start also
// reads and verifies everything that is stored. So the log knows which messages between
// the first and the last are missing or damaged, and Read reports them.
//
// A batch is stored in its order, and a crash in the middle leaves a beginning of it. An
// embedded log sends the messages of one Append without waiting in between, over one
// connection, whose messages JetStream stores in order. To an external server it sends
// each message once the one before is acknowledged.
package jetlog

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// A Log is an [eventlog.Log] on JetStream. All methods may be called concurrently.
type Log struct {
	names  naming
	logger *slog.Logger
	core   atomic.Pointer[core]

	generations atomic.Uint64 // how many cores there have been

	embedded *embedded // nil with an external server
	external *external // nil with an embedded one

	closing   context.Context // done when Close is called
	close     context.CancelFunc
	closeOnce sync.Once
	closeErr  error
}

var _ eventlog.Log = (*Log)(nil)

// A core serves a log until it is opened anew. It is one generation of the log.
type core struct {
	src        source
	pub        *publisher
	head       *head
	holes      *holes
	wide       wide
	epochs     eventlog.Timeline
	generation uint64        // set by serve
	gone       chan struct{} // closed when another core takes over
}

func newLog(stream string, logger *slog.Logger) *Log {
	l := &Log{names: namingOf(stream), logger: logger}
	l.closing, l.close = context.WithCancel(context.Background())
	return l
}

// serve makes c the core of the log, in place of the one before. One goroutine at a time
// calls it.
func (l *Log) serve(c *core) {
	c.generation = l.generations.Add(1)
	if old := l.core.Swap(c); old != nil {
		close(old.gone)
	}
}

// use calls f with the core. If that closes underneath f, use calls f again with the next
// core.
func (l *Log) use(ctx context.Context, f func(*core) error) error {
	for {
		if l.closing.Err() != nil {
			return eventlog.ErrClosed
		}
		c := l.core.Load()
		err := f(c)
		if l.closing.Err() != nil {
			return eventlog.ErrClosed
		}
		if !errors.Is(err, errReopening) {
			return err
		}
		select {
		case <-c.gone:
		case <-l.closing.Done():
			return eventlog.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(requestTimeout):
			return err
		}
	}
}

// State implements [eventlog.Log].
func (l *Log) State(ctx context.Context) (st eventlog.State, err error) {
	err = l.use(ctx, func(c *core) error {
		st, err = c.src.state(ctx)
		st.Epochs, st.Generation = c.epochs, c.generation
		return err
	})
	return st, err
}

// Read implements [eventlog.Log]. An embedded log knows from its start which records it
// lacks. A reader of all topics finds those that are damaged later. If retention is about
// to overtake a reader, Read may say so one batch too early.
func (l *Log) Read(ctx context.Context, q eventlog.Query) (b eventlog.Batch, err error) {
	err = l.use(ctx, func(c *core) error {
		b, err = read(ctx, c.src, c.holes, l.names, q)
		if q.Generation != 0 && q.Generation != l.core.Load().generation {
			return eventlog.ErrReopened // checked last: an external server also answers an old core
		}
		return err
	})
	if err != nil {
		return eventlog.Batch{}, err
	}
	return b, nil
}

// Tail implements [eventlog.Log].
func (l *Log) Tail(ctx context.Context, generation, after uint64) iter.Seq2[[]eventlog.Record, error] {
	return func(yield func([]eventlog.Record, error) bool) {
		c := l.core.Load()
		var err error
		switch {
		case c.generation != generation:
			err = eventlog.ErrReopened
		case l.external != nil:
			err = l.external.tail(ctx, l, c, after, yield)
		default:
			err = l.tail(ctx, c, after, yield)
		}
		if err != nil && l.core.Load() != c {
			err = eventlog.ErrReopened
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// The bounds of what Tail yields at a time.
const (
	tailRecords = 256
	tailBytes   = 1 << 20
)

// tail reads on whenever a message was acknowledged.
func (l *Log) tail(ctx context.Context, c *core, after uint64, yield func([]eventlog.Record, error) bool) error {
	for ctx.Err() == nil && l.closing.Err() == nil {
		last, further := c.head.wait()
		if last > after {
			records, err := c.src.scan(ctx, after+1, tailRecords, tailBytes)
			switch {
			case ctx.Err() != nil || l.closing.Err() != nil:
				return nil
			case err != nil:
				return err
			case len(records) == 0:
				after = last // retention has removed it
			case !yield(records, nil):
				return nil
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
			return eventlog.ErrReopened
		}
	}
	return nil
}

// Newest implements [eventlog.Log]. If the filters match more than 4,096 topics of an
// embedded log, or 1,024 of an external one, it reads all records on the way.
func (l *Log) Newest(ctx context.Context, filters []topics.Filter, after, upTo uint64, limit int) (seqs []uint64, through uint64, err error) {
	err = l.use(ctx, func(c *core) error {
		seqs, through, err = newest(ctx, c, l.names, filters, after, upTo, limit)
		return err
	})
	return seqs, through, err
}

// Back implements [eventlog.Log].
func (l *Log) Back(ctx context.Context, filters []topics.Filter, n int, upTo uint64) (after uint64, err error) {
	err = l.use(ctx, func(c *core) error {
		after, err = back(ctx, c.src, c.holes, l.names, filters, n, upTo)
		return err
	})
	return after, err
}

// At implements [eventlog.Log].
func (l *Log) At(ctx context.Context, t time.Time) (seq uint64, err error) {
	err = l.use(ctx, func(c *core) error {
		seq, err = at(ctx, c.src, l.names, t)
		return err
	})
	return seq, err
}

// Count implements [eventlog.Log]. On an external server it reads the records that it
// counts.
func (l *Log) Count(ctx context.Context, filters []topics.Filter, after uint64) (n, through uint64, err error) {
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

// Topics implements [eventlog.Log].
func (l *Log) Topics(ctx context.Context, filter topics.Filter, after string, limit int) (infos []eventlog.TopicInfo, err error) {
	err = l.use(ctx, func(c *core) error {
		infos, err = listTopics(ctx, c, filter, after, limit)
		return err
	})
	return infos, err
}

// Close implements [eventlog.Log]. When it returns, everything that an embedded log has
// stored is on the disk, and the folder can be opened again.
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
