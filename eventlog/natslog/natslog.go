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
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
)

// A Log is an [eventlog.Log] on JetStream. All methods may be called concurrently.
type Log struct {
	opts  Options
	names naming
	nc    *nats.Conn // for as long as the log is open: it reconnects by itself
	js    jetstream.JetStream
	slots slots

	now      atomic.Pointer[generation]
	look     chan struct{} // makes watch look at the stream at once
	reused   atomic.Bool   // a number was assigned again
	watching sync.WaitGroup
	session  atomic.Pointer[session]

	closing   context.Context // done when Close is called
	close     context.CancelFunc
	closeOnce sync.Once
}

var _ eventlog.Log = (*Log)(nil)

// A generation serves the log until the log is opened anew.
type generation struct {
	number uint64
	stream jetstream.Stream
	epochs eventlog.Timeline // one
	holes  holes
	wide   wide
	topics topicNames
	count  atomic.Int64  // topics, as of the last answer that says so
	head   atomic.Uint64 // the greatest sequence number seen
	bytes  atomic.Int64  // the stream's MaxBytes, as far as known
	gone   chan struct{} // closed when another generation takes over
}

// advance raises the head to seq. It never lowers the head.
func (g *generation) advance(seq uint64) {
	for old := g.head.Load(); seq > old && !g.head.CompareAndSwap(old, seq); {
		old = g.head.Load()
	}
}

// Connect opens the log in a JetStream stream of the server or cluster at a URL, and makes
// the stream if there is none. Any number of processes may have it open at the same time.
// Nil options are the defaults. The caller has to close the log.
//
// A stream has one epoch, which is made with it. A stream that is deleted and made again
// has another epoch. The log notices that within seconds. It cannot notice that a server
// has lost the end of a stream, or was restored from a backup, while no process had the
// log open. Then it takes the id of a lost message for that of a later message with the
// same number. A stream with replicas does not lose its end as long as most of them keep
// their disks.
//
// While there is no connection, methods fail at once. Otherwise they wait at most 5 seconds
// for an answer. A message for which Append has returned an error may still have been
// stored.
func Connect(ctx context.Context, options *Options) (*Log, error) {
	opts, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Log{
		opts: opts, names: naming{opts.Stream + "."}, slots: newSlots(),
		look: make(chan struct{}, 1),
	}
	l.closing, l.close = context.WithCancel(context.Background())
	l.session.Store(newSession(l.closing))
	if l.nc, err = nats.Connect(opts.URL, l.connection()...); err != nil {
		return nil, fmt.Errorf("no connection to NATS at %s: %w", redact(opts.URL), err)
	}
	l.js, err = jetstream.New(l.nc)
	if err == nil {
		err = l.open(ctx)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("NATS at %s: %w", redact(opts.URL), err)
	}
	l.watching.Go(l.watch)
	return l, nil
}

// redact removes the passwords from URLs.
func redact(urls string) string {
	parts := strings.Split(urls, ",")
	for i, part := range parts {
		if u, err := url.Parse(strings.TrimSpace(part)); err == nil {
			if u.User != nil {
				if _, ok := u.User.Password(); !ok {
					u.User = url.User("xxxxx") // a token
				}
			}
			parts[i] = u.Redacted()
		} else {
			parts[i] = "…"
		}
	}
	return strings.Join(parts, ",")
}

// connection returns the options of the connection.
func (l *Log) connection() []nats.Option {
	opts := []nats.Option{
		nats.Name("tidings"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectBufSize(-1), // what cannot be sent fails
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if l.closing.Err() == nil {
				l.opts.Logger.Warn("the connection to NATS is lost", "error", err)
			}
			l.session.Load().lose()
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			l.opts.Logger.Info("connected to NATS again", "url", nc.ConnectedUrlRedacted())
			old := l.session.Swap(newSession(l.closing))
			old.lose()
			close(old.next)
			l.suspect()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			l.opts.Logger.Warn("nats: " + err.Error())
		}),
	}
	if l.opts.CredentialsFile != "" {
		opts = append(opts, nats.UserCredentials(l.opts.CredentialsFile))
	}
	if l.opts.CAFile != "" {
		opts = append(opts, nats.RootCAs(l.opts.CAFile))
	}
	if l.opts.CertFile != "" {
		opts = append(opts, nats.ClientCert(l.opts.CertFile, l.opts.KeyFile))
	}
	return opts
}

// A session lasts from a connection to its loss. A NATS client does not tell the requests in
// flight that the connection is lost.
type session struct {
	context.Context // done when the connection is lost
	lose            context.CancelFunc
	next            chan struct{} // closed when another session begins
}

func newSession(closing context.Context) *session {
	s := &session{next: make(chan struct{})}
	s.Context, s.lose = context.WithCancel(closing)
	return s
}

// requestTimeout bounds the wait for an answer.
const requestTimeout = 5 * time.Second

// request returns the context of a request, which ends after requestTimeout and when the
// connection is lost.
func (l *Log) request(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	stop := context.AfterFunc(l.session.Load(), cancel)
	return ctx, func() { stop(); cancel() }
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
	g := l.now.Load()
	st.Epochs, st.Generation = g.epochs, g.number
	info, err := l.info(ctx)
	if err != nil {
		return st, err
	}
	st.First, st.Last = boundsIn(info)
	st.KeyWindow = info.Config.Duplicates
	return st, nil
}

// Close implements [eventlog.Log].
func (l *Log) Close() error {
	l.closeOnce.Do(func() {
		l.close()
		l.watching.Wait()
		l.nc.Close()
	})
	return nil
}

var (
	errNoStream     = fmt.Errorf("natslog: %w: the NATS server has no JetStream, or the stream has no leader", eventlog.ErrUnavailable)
	errDisconnected = fmt.Errorf("natslog: %w: there is no connection to NATS, or it was lost during the request", eventlog.ErrUnavailable)
)

// failed translates the error of a request. ctx is that of the caller.
func failed(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.Canceled), errors.Is(err, nats.ErrReconnectBufExceeded):
		return errDisconnected
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		return errNoStream
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("natslog: %w: %w", eventlog.ErrUnavailable, err)
	case errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("natslog: no answer from NATS within %v: %w", requestTimeout, err)
	}
	return fmt.Errorf("natslog: %w", err)
}
