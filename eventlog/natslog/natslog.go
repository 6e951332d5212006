// Package natslog has an [eventlog.Log] in a stream of NATS JetStream, on a server or a
// cluster elsewhere. Any number of processes can have the same stream open: see [Connect].
//
// # What survives
//
// The settings of the servers and the number of replicas decide which acknowledged messages
// survive. Append sends each message once the one before is acknowledged. So a crash in the
// middle of a batch leaves a beginning of it.
//
// # Time
//
// The clock of the NATS server counts, not that of this process. It gives records their
// times. It decides when retention removes them, when a key is forgotten, and where a stream
// begins that asks for the messages since a time ([Log.At]).
package natslog

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"example.com/tidings/eventlog"
)

// A Log is an [eventlog.Log] on JetStream. All methods may be called concurrently.
type Log struct {
	opts    Options
	names   naming
	link    atomic.Pointer[link]
	session atomic.Pointer[session] // of the link
	slots   slots

	now        atomic.Pointer[generation]
	gate       gate
	look       chan struct{} // makes watch look at the stream at once
	watching   sync.WaitGroup
	listing    chan struct{}                     // makes keepList read the list of epochs
	listed     atomic.Pointer[eventlog.Timeline] // of a list that has epochs which are new to this log
	listWarned atomic.Bool
	doubting   atomic.Bool // verify waits for the newest record
	listLock   sync.Mutex  // held while the list is updated
	listEnded  bool        // the list has what endInOrder has noted; guarded by listLock
	warnings   warnings
	foreign    foreign
	trouble    trouble
	tail       tailWatch

	closing   context.Context // done when Close is called
	close     context.CancelFunc
	closeOnce sync.Once
}

var (
	_ eventlog.Log        = (*Log)(nil)
	_ eventlog.Monitor    = (*Log)(nil)
	_ eventlog.HoleFinder = (*Log)(nil)
)

// Connect opens the log in a JetStream stream of the server or cluster at a URL, and makes
// the stream if there is none. Any number of processes may have it open at the same time.
// Nil options are the defaults. The caller has to close the log.
//
// A stream has an epoch, which is made with it. A stream that is deleted and made again has
// another one. If the stream has lost its end, because its servers lost their power or were
// restored from a backup, the log begins a further epoch where the loss is: see
// [eventlog.Timeline.NextCut]. A process notices a loss within seconds if it has seen a record
// that is gone. A process that has just started knows from the list of epochs, a key of the
// bucket STREAM-epochs, how far the stream had come.
//
// While there is no connection, methods fail at once. Otherwise they wait at most 5 seconds
// for an answer. A message for which Append has returned an error may still have been
// stored, unless the error is [eventlog.ErrUnavailable].
func Connect(ctx context.Context, options *Options) (*Log, error) {
	opts, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Log{
		opts: opts, names: naming{opts.Stream + "."}, slots: newSlots(),
		look: make(chan struct{}, 1), listing: make(chan struct{}, 1),
		tail: tailWatch{renew: make(chan struct{}, 1)},
	}
	l.closing, l.close = context.WithCancel(context.Background())
	l.session.Store(newSession(l.closing))
	if err := l.begin(ctx); err != nil {
		l.Close()
		return nil, err
	}
	l.warnOfSettings()
	l.watching.Go(l.watch)
	l.watching.Go(l.keepList)
	return l, nil
}

// begin connects, and opens the stream. It tries again for Options.Wait.
func (l *Log) begin(ctx context.Context) error {
	for deadline, warned := time.Now().Add(l.opts.Wait), false; ; warned = true {
		err := l.tryBegin(ctx)
		if err == nil || ctx.Err() != nil || !passing(err) || time.Now().After(deadline) {
			return err
		}
		if !warned {
			l.opts.Logger.Warn("NATS is not available; waiting for it", "error", err, "wait", l.opts.Wait)
		}
		select {
		case <-time.After(retryWait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *Log) tryBegin(ctx context.Context) error {
	if l.link.Load() == nil {
		if err := l.dial(); err != nil {
			return err
		}
	}
	shuts := l.gate.shuts()
	if err := l.open(ctx, nil); err != nil {
		return fmt.Errorf("NATS at %s: %w", redact(l.opts.URL), err)
	}
	l.gate.open(shuts)
	return nil
}

// warnOfSettings logs what the person who runs the program should know about the servers.
func (l *Log) warnOfSettings() {
	const major, minor = 2, 15 // the tests run with this one
	if v := l.link.Load().nc.ConnectedServerVersion(); older(v, major, minor) {
		l.opts.Logger.Warn("the NATS server is older than those that Tidings is tested with", "version", v)
	}
	if l.now.Load().config.Replicas == 1 {
		l.opts.Logger.Warn("the stream has one replica: messages that NATS has acknowledged are lost with that server's disk, "+
			"and up to sync_interval of them (2m by default) when its power fails", "stream", l.opts.Stream)
	}
}

// enter waits until the log may be used: there is a connection, and the stream was looked at since
// it began. ctx is that of the caller.
func (l *Log) enter(ctx context.Context) error {
	if l.gate.passable() {
		return nil
	}
	within, cancel := l.request(ctx)
	defer cancel()
	err := l.gate.wait(within)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case l.session.Load().Err() != nil:
		return errDisconnected
	}
	return errLooking
}

// ended sets the error of a method to [eventlog.ErrClosed] if the log is closed.
func (l *Log) ended(err *error) {
	if l.closing.Err() != nil {
		*err = eventlog.ErrClosed
	}
}

// State implements [eventlog.Log].
func (l *Log) State(ctx context.Context) (st eventlog.State, err error) {
	defer l.ended(&err)
	if err := l.enter(ctx); err != nil {
		return st, err
	}
	g := l.now.Load()
	info, err := l.info(ctx, infoRequest{})
	if err != nil {
		return st, err
	}
	if l.now.Load() != g {
		return st, eventlog.ErrReopened
	}
	st.Epochs, st.Generation, st.Settle = g.epochs, g.number, settleCluster
	st.First, st.Last = boundsIn(info)
	st.KeyWindow = info.Config.Duplicates
	g.advance(st.Last)
	return st, nil
}

// Holes implements [eventlog.HoleFinder].
func (l *Log) Holes(after, upTo, version uint64) ([]eventlog.Hole, uint64) {
	return l.now.Load().holes.list(after, upTo, version)
}

// Close implements [eventlog.Log].
func (l *Log) Close() error {
	l.closeOnce.Do(func() {
		l.endInOrder()
		l.close()
		l.watching.Wait()
		if link := l.link.Load(); link != nil {
			link.nc.Close()
		}
	})
	return nil
}
