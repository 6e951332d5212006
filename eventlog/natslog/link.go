package natslog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
)

const (
	// A server that is dead or frozen is noticed when it has not answered so many pings.
	pingInterval = time.Second
	pingsLost    = 2

	// dialTimeout bounds the wait for one server to take a connection, or to refuse it.
	dialTimeout = 2 * time.Second

	// retryWait is the pause between two attempts at what must succeed in the end.
	retryWait = 250 * time.Millisecond
)

// A link is a connection to NATS, which reconnects by itself. If the client gives it up for
// good, watch makes another one.
type link struct {
	nc *nats.Conn
	js jetstream.JetStream
}

// dial makes a link.
func (l *Log) dial() error {
	nc, err := nats.Connect(l.opts.URL, l.connection()...)
	if err != nil {
		return fmt.Errorf("no connection to NATS at %s: %w", redact(l.opts.URL), err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return err
	}
	l.link.Store(&link{nc, js})
	l.listen(nc)
	l.beginSession()
	return nil
}

// listen has the news of the servers make watch look at once: that the stream has another
// leader, or was made or deleted, and that another process has changed the list of epochs. If
// the login does not allow that, watch notices these things a little later.
func (l *Log) listen(nc *nats.Conn) {
	suspicious := func(*nats.Msg) {
		l.gate.shut()
		l.suspect()
	}
	for _, event := range []string{"LEADER_ELECTED", "CREATED", "DELETED"} {
		_, _ = nc.Subscribe("$JS.EVENT.ADVISORY.STREAM."+event+"."+l.opts.Stream, suspicious)
	}
	_, _ = nc.Subscribe(l.listSubject(), func(m *nats.Msg) {
		l.hearDoubt(m)
		select {
		case l.listing <- struct{}{}:
		default:
		}
	})
}

// beginSession begins a session. Nothing is sent or read in it until watch has looked at the
// stream.
func (l *Log) beginSession() {
	l.gate.shut()
	old := l.session.Swap(newSession(l.closing))
	old.lose()
	close(old.next)
	l.suspect()
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

// connection returns the options of a link.
func (l *Log) connection() []nats.Option {
	opts := []nats.Option{
		nats.Name("tidings"),
		nats.Timeout(dialTimeout),
		nats.DontRandomize(),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(pingsLost),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // a login that is revoked may come back
		nats.ReconnectWait(retryWait),
		nats.ReconnectBufSize(-1), // what cannot be sent fails
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if l.closing.Err() == nil {
				l.opts.Logger.Warn("the connection to NATS is lost", "error", err)
			}
			l.gate.shut()
			l.session.Load().lose()
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			l.opts.Logger.Info("connected to NATS again", "url", nc.ConnectedUrlRedacted())
			l.beginSession()
		}),
		nats.ClosedHandler(func(*nats.Conn) {
			l.gate.shut()
			l.session.Load().lose()
			l.suspect()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			l.warnings.warn(l, "the NATS client has an error: "+err.Error(), err)
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

// A gate is shut while it is not known whether the stream still has what this log has seen. Then
// nothing is appended, and no Tail begins. Its methods may be called concurrently.
type gate struct {
	mu     sync.Mutex
	count  uint64 // how often it was shut
	isOpen bool
	opened atomic.Pointer[chan struct{}] // closed when the gate opens
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count++
	if g.isOpen || g.opened.Load() == nil {
		g.isOpen = false
		g.opened.Store(new(make(chan struct{})))
	}
}

// shuts returns how often the gate was shut, for open.
func (g *gate) shuts() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.count
}

// open opens the gate, unless it was shut again since shuts returned count.
func (g *gate) open(count uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isOpen && g.count == count {
		g.isOpen = true
		close(*g.opened.Load())
	}
}

// passable reports whether the gate is open.
func (g *gate) passable() bool {
	select {
	case <-*g.opened.Load():
		return true
	default:
		return false
	}
}

// wait waits until the gate is open. It returns the error of ctx if that is done before.
func (g *gate) wait(ctx context.Context) error {
	select {
	case <-*g.opened.Load():
		return nil
	default:
	}
	select {
	case <-*g.opened.Load():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var (
	errNoStream     = fmt.Errorf("natslog: %w: the NATS server has no JetStream, or the stream has no leader", eventlog.ErrUnavailable)
	errDisconnected = fmt.Errorf("natslog: %w: there is no connection to NATS, or it was lost during the request", eventlog.ErrUnavailable)
	errNoAnswer     = fmt.Errorf("natslog: %w: no answer from NATS within %v", eventlog.ErrUnavailable, requestTimeout)
	errLooking      = fmt.Errorf("natslog: %w: it is not yet known whether the stream has lost its end", eventlog.ErrUnavailable)
	errBehind       = fmt.Errorf("natslog: %w: the stream's leader does not have the newest messages yet", eventlog.ErrUnavailable)
)

// offline reports whether an error says that nothing was sent.
func offline(err error) bool {
	for _, target := range []error{
		nats.ErrReconnectBufExceeded, nats.ErrConnectionClosed, nats.ErrConnectionReconnecting, nats.ErrConnectionDraining,
		nats.ErrInvalidConnection, nats.ErrNoServers, nats.ErrDisconnected,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// failed translates the error of a request that changes nothing. ctx is that of the caller.
func failed(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, eventlog.ErrUnavailable):
		return err
	case errors.Is(err, context.Canceled), offline(err):
		return errDisconnected
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		return errNoStream
	case errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return errNoAnswer
	}
	if _, ok := errors.AsType[*jetstream.APIError](err); ok || errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("natslog: %w: %w", eventlog.ErrUnavailable, err)
	}
	return fmt.Errorf("natslog: %w", err)
}

// passing reports whether an error of Connect may pass by itself: the servers are away, or have no
// leader yet.
func passing(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok || offline(err) || errors.Is(err, eventlog.ErrUnavailable) {
		return true
	}
	const noPeers = 10005 // enough of a cluster's servers are not there yet
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && (api.Code == 503 || api.ErrorCode == noPeers) {
		return true
	}
	return errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse)
}
