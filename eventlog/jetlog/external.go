package jetlog

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
)

// An external log has its stream on servers elsewhere. The goroutines of its users, of
// watch and of the NATS client share it. Fields without a lock of their own are set before
// Connect starts any of these goroutines, and do not change after that.
type external struct {
	opts ClusterOptions
	nc   *nats.Conn          // for as long as the log is open: it reconnects by itself
	js   jetstream.JetStream // on nc

	look     chan struct{} // makes watch look at the stream at once
	reused   atomic.Bool   // a number was assigned again
	watching sync.WaitGroup

	mu    sync.Mutex
	again chan struct{} // closed at the next reconnection
}

// epochKey is the name of an external stream's epoch in its metadata.
const epochKey = "tidings-epoch"

// watchInterval is how often watch looks whether the stream is still the same.
const watchInterval = 5 * time.Second

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
// While there is no connection, Append fails at once. Methods wait at most 5 seconds for
// an acknowledgement or another answer. A message for which Append has returned an error
// may still have been stored.
func Connect(ctx context.Context, options *ClusterOptions) (*Log, error) {
	opts, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	l := newLog(opts.Stream, opts.Logger)
	x := &external{opts: opts, look: make(chan struct{}, 1), again: make(chan struct{})}
	l.external = x
	if x.nc, err = nats.Connect(opts.URL, x.options(l)...); err != nil {
		return nil, fmt.Errorf("no connection to NATS at %s: %w", redact(opts.URL), err)
	}
	c, err := x.begin(ctx, l)
	if err != nil {
		x.nc.Close()
		return nil, fmt.Errorf("NATS at %s: %w", redact(opts.URL), err)
	}
	l.serve(c)
	x.watching.Go(func() { x.watch(l) })
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

func (x *external) options(l *Log) []nats.Option {
	opts := []nats.Option{
		nats.Name("tidings"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectBufSize(-1), // what cannot be sent fails
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if l.closing.Err() != nil {
				return
			}
			l.logger.Warn("the connection to NATS is lost", "error", err)
			if c := l.core.Load(); c != nil {
				c.pub.lost(errDisconnected)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			l.logger.Info("connected to NATS again", "url", nc.ConnectedUrlRedacted())
			x.mu.Lock()
			close(x.again)
			x.again = make(chan struct{})
			x.mu.Unlock()
			x.suspect()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			l.logger.Warn("nats: " + err.Error())
		}),
	}
	if x.opts.CredentialsFile != "" {
		opts = append(opts, nats.UserCredentials(x.opts.CredentialsFile))
	}
	if x.opts.CAFile != "" {
		opts = append(opts, nats.RootCAs(x.opts.CAFile))
	}
	if x.opts.CertFile != "" {
		opts = append(opts, nats.ClientCert(x.opts.CertFile, x.opts.KeyFile))
	}
	return opts
}

// errDisconnected says that a message may or may not have been stored.
var errDisconnected = errors.New("jetlog: the connection to NATS was lost before the message was acknowledged")

// begin returns the first core.
func (x *external) begin(ctx context.Context, l *Log) (_ *core, err error) {
	if x.js, err = jetstream.New(x.nc); err != nil {
		return nil, err
	}
	return x.connect(ctx, l)
}

// connect returns a new core.
func (x *external) connect(ctx context.Context, l *Log) (*core, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	if v := x.nc.ConnectedServerVersion(); older(v) {
		return nil, fmt.Errorf("the server has version %s, and 2.11 or later is needed", v)
	}
	epoch, err := x.stream(ctx, l.names)
	if err != nil {
		return nil, err
	}
	api := &apiSource{nc: x.nc, stream: x.opts.Stream, names: l.names}
	info, err := api.info(ctx, map[string]bool{"deleted_details": true})
	if err != nil {
		return nil, err
	}
	c := &core{
		src: api, head: new(head), gone: make(chan struct{}),
		holes:  holesIn(info),
		epochs: eventlog.Timeline{{ID: epoch, First: 1}},
	}
	c.head.advance(info.State.Last)
	reused := func() {
		x.reused.Store(true)
		x.suspect()
	}
	if c.pub, err = newPublisher(x.nc, l.names, c.head, reused); err != nil {
		return nil, err
	}
	return c, nil
}

// older reports whether a server is too old for batches of DIRECT.GET.
func older(version string) bool {
	var major, minor int
	n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return n == 2 && (major < 2 || major == 2 && minor < 11)
}

// stream makes the stream, or changes it to what the options say. It returns the stream's
// epoch.
func (x *external) stream(ctx context.Context, names naming) (epoch string, err error) {
	stream, err := x.js.Stream(ctx, x.opts.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		config := jetstream.StreamConfig{
			Name:        x.opts.Stream,
			Description: "Messages of Tidings",
			Subjects:    []string{names.all()},
			Storage:     jetstream.FileStorage,
			MaxAge:      DefaultMaxAge,
			MaxBytes:    DefaultMaxBytes,
			Replicas:    max(x.opts.Replicas, 1),
			AllowDirect: true,
			Metadata:    map[string]string{epochKey: eventlog.NewEpochID(time.Now())},
		}
		if err := x.retention(&config); err != nil {
			return "", err
		}
		_, err = x.js.CreateStream(ctx, config)
		if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return "", fmt.Errorf("the stream %q cannot be made: %w", x.opts.Stream, err)
		}
		// If another process was faster, the epoch is that of the other process.
		stream, err = x.js.Stream(ctx, x.opts.Stream)
	}
	if err != nil {
		return "", fmt.Errorf("the stream %q: %w", x.opts.Stream, err)
	}
	return x.adopt(ctx, stream.CachedInfo().Config, names)
}

// retention sets the retention that the options ask for.
func (x *external) retention(config *jetstream.StreamConfig) error {
	if x.opts.MaxAge != 0 {
		config.MaxAge = max(x.opts.MaxAge, 0)
	}
	if x.opts.MaxBytes != 0 {
		config.MaxBytes = max(x.opts.MaxBytes, -1)
	}
	window := config.Duplicates
	if x.opts.DedupWindow != 0 {
		window = x.opts.DedupWindow
	} else if config.MaxAge > 0 {
		window = min(window, config.MaxAge)
	}
	err := checkWindow(&window, config.MaxAge)
	config.Duplicates = window
	return err
}

// adopt checks that a stream is one of Tidings, and changes it to what the options say. It
// returns the stream's epoch.
func (x *external) adopt(ctx context.Context, config jetstream.StreamConfig, names naming) (string, error) {
	var why string
	switch {
	case !slices.Equal(config.Subjects, []string{names.all()}):
		why = fmt.Sprintf("its subjects are %q, not %q", config.Subjects, names.all())
	case config.Mirror != nil || len(config.Sources) > 0:
		why = "it copies other streams"
	case config.Retention != jetstream.LimitsPolicy || config.MaxMsgsPerSubject > 0 || config.Discard != jetstream.DiscardOld:
		why = "its retention is not by age and size, the oldest first"
	case config.NoAck || config.Sealed:
		why = "it does not acknowledge messages"
	}
	if why != "" {
		return "", fmt.Errorf("the stream %q is not one of Tidings: %s", x.opts.Stream, why)
	}
	want := config
	want.AllowDirect = true
	if x.opts.Replicas != 0 {
		want.Replicas = x.opts.Replicas
	}
	if err := x.retention(&want); err != nil {
		return "", err
	}
	epoch := config.Metadata[epochKey]
	if epoch == "" {
		epoch = eventlog.NewEpochID(time.Now())
		want.Metadata = map[string]string{epochKey: epoch}
		for k, v := range config.Metadata {
			want.Metadata[k] = v
		}
	} else if want.AllowDirect == config.AllowDirect && want.Replicas == config.Replicas && want.MaxAge == config.MaxAge &&
		want.MaxBytes == config.MaxBytes && want.Duplicates == config.Duplicates {
		return epoch, nil
	}
	if _, err := x.js.UpdateStream(ctx, want); err != nil {
		return "", fmt.Errorf("the stream %q cannot be changed: %w", x.opts.Stream, err)
	}
	return epoch, nil
}

// reconnection returns a channel that is closed at the next reconnection.
func (x *external) reconnection() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.again
}

// suspect makes watch look at once whether the stream is still the same.
func (x *external) suspect() {
	select {
	case x.look <- struct{}{}:
	default:
	}
}

// watch looks whether the stream is still the same, at intervals and when something is
// suspect.
func (x *external) watch(l *Log) {
	t := time.NewTicker(watchInterval)
	defer t.Stop()
	for {
		select {
		case <-l.closing.Done():
			return
		case <-t.C:
		case <-x.look:
		}
		if !x.nc.IsConnected() {
			continue
		}
		if why := x.changed(l); why != "" {
			l.logger.Error("the log is reopened: " + why)
			x.replace(l)
		}
	}
}

// changed returns why the stream is no longer the same, or "".
func (x *external) changed(l *Log) string {
	c := l.core.Load()
	head := c.head.seq.Load()
	info, err := c.src.(*apiSource).info(l.closing, struct{}{})
	e, isAPI := errors.AsType[*apiError](err)
	switch {
	case isAPI && e.Code == codeNoStream:
		return "the stream is gone"
	case err != nil:
		return "" // it cannot be asked now
	case info.Config.Metadata[epochKey] != c.epochs[0].ID:
		return "the stream was made again"
	case x.reused.Swap(false):
		return fmt.Sprintf("the stream has lost its end, and assigns numbers up to %d again", head)
	case info.State.Last < head:
		return fmt.Sprintf("the stream has lost its end: it was at %d, and is at %d", head, info.State.Last)
	}
	c.head.advance(info.State.Last)
	return ""
}

// replace opens the log anew.
func (x *external) replace(l *Log) {
	c, err := x.connect(l.closing, l)
	if err != nil {
		if l.closing.Err() == nil {
			l.logger.Error("the log cannot be reopened", "error", err)
		}
		return
	}
	old := l.core.Load()
	l.serve(c)
	old.pub.fail(eventlog.ErrReopened)
	old.pub.close()
}

func (x *external) close(l *Log) {
	l.core.Load().pub.fail(eventlog.ErrClosed)
	x.watching.Wait()
	x.nc.Close()
}
