package jetlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
)

// minSync is the shortest interval that Options.Sync allows.
const minSync = 10 * time.Millisecond

// maxPayload bounds the size of a message, with its headers, in an embedded log.
const maxPayload = 8 << 20

// An embedded log has its server in this process.
type embedded struct {
	opts Options
	lock *flock.Flock
	room room

	mu  sync.Mutex // held while the server is started and stopped
	srv *server.Server
	nc  *nats.Conn

	menders sync.WaitGroup
	mending atomic.Bool
}

// Open opens the log in a folder, and creates the log if there is none. Nil options mean
// the defaults. The caller must close the log.
func Open(ctx context.Context, options *Options) (*Log, error) {
	opts, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("the data folder cannot be made: %w", err)
	}
	held, err := lock(opts.Dir)
	if err != nil {
		return nil, err
	}
	e := &embedded{
		opts: opts, lock: held,
		room: room{dir: opts.Dir, reserve: opts.Reserve},
	}
	l := newLog(DefaultStream, opts.Logger)
	l.embedded = e
	c, err := e.start(ctx, l)
	if err != nil {
		return nil, errors.Join(err, held.Unlock())
	}
	l.serve(c)
	return l, nil
}

// start starts a server, and returns a core that uses it.
func (e *embedded) start(ctx context.Context, l *Log) (_ *core, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	dir := e.opts.Dir
	if err := verifyAnew(dir); err != nil {
		return nil, fmt.Errorf("the data folder %q: %w", dir, err)
	}
	srv, err := server.NewServer(&server.Options{
		ServerName:             "tidings",
		DontListen:             true,
		NoSigs:                 true,
		JetStream:              true,
		DisableJetStreamBanner: true,
		StoreDir:               dir,
		SyncInterval:           max(e.opts.Sync, minSync),
		SyncAlways:             e.opts.Sync == SyncAlways,
		MaxPayload:             maxPayload,
		JetStreamMaxStore:      1 << 60, // MaxBytes and Reserve are the bounds
		JetStreamMaxMemory:     64 << 20,
	})
	if err != nil {
		return nil, fmt.Errorf("the NATS server cannot be set up: %w", err)
	}
	c := &core{head: new(head), gone: make(chan struct{})}
	srv.SetLoggerV2(&serverLog{log: e.opts.Logger, failed: func() { e.failed(l, c) }}, false, false, false)
	var nc *nats.Conn
	defer func() {
		if err != nil {
			if nc != nil {
				nc.Close()
			}
			srv.Shutdown()
			srv.WaitForShutdown()
		}
	}()
	srv.Start()
	if !srv.ReadyForConnections(startTimeout) || !srv.JetStreamEnabled() {
		return nil, fmt.Errorf("the log in %q cannot be opened; the log of the NATS server says why", dir)
	}
	if nc, err = nats.Connect("", nats.InProcessServer(srv), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond)); err != nil {
		return nil, fmt.Errorf("the NATS server in this process: %w", err)
	}
	if err := e.stream(ctx, srv, nc, l.names); err != nil {
		return nil, err
	}
	if err := e.open(ctx, c, srv, nc, l.names); err != nil {
		return nil, err
	}
	e.srv, e.nc = srv, nc
	return c, nil
}

// startTimeout bounds how long a server may take to read its store.
const startTimeout = 10 * time.Minute

// streamDir returns the folder in which the server keeps the stream.
func streamDir(dir string) string {
	return filepath.Join(dir, "jetstream", "$G", "streams", DefaultStream)
}

// verifyAnew makes the server read and verify its whole store when it starts. Otherwise the
// server trusts its index if the index agrees with the last record, and does not notice
// that earlier records are missing. After a crash the server reads everything anyhow.
func verifyAnew(dir string) error {
	err := os.Remove(filepath.Join(streamDir(dir), "msgs", "index.db"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// stream creates the stream, or applies the retention of the options to an existing one.
func (e *embedded) stream(ctx context.Context, srv *server.Server, nc *nats.Conn, names naming) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	config := jetstream.StreamConfig{
		Name:        DefaultStream,
		Subjects:    []string{names.all()},
		Storage:     jetstream.FileStorage,
		MaxAge:      max(e.opts.MaxAge, 0),
		MaxBytes:    max(e.opts.MaxBytes, -1),
		Duplicates:  e.opts.DedupWindow,
		AllowDirect: true,
	}
	_, err = js.Stream(ctx, DefaultStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if blocks, _ := filepath.Glob(filepath.Join(streamDir(e.opts.Dir), "msgs", "*.blk")); len(blocks) > 0 {
			return fmt.Errorf("the data folder %q has messages that the NATS server does not find: the stream's meta.inf is damaged", e.opts.Dir)
		}
		_, err = js.CreateStream(ctx, config)
	} else if err == nil {
		_, err = js.UpdateStream(ctx, config)
	}
	if err != nil {
		return fmt.Errorf("the stream in %q: %w", e.opts.Dir, err)
	}
	return nil
}

// open reads the state of the server's store, and opens a new epoch.
func (e *embedded) open(ctx context.Context, c *core, srv *server.Server, nc *nats.Conn, names naming) error {
	api := &apiSource{nc: nc, stream: DefaultStream, names: names}
	info, err := api.info(ctx, map[string]bool{"deleted_details": true})
	if err != nil {
		return err
	}
	c.holes = holesIn(info)
	if missing, n := c.holes.count(); n > 0 {
		e.opts.Logger.Error("the log has lost stored messages; subscribers are told",
			"messages", missing, "places", n)
	}
	c.head.advance(info.State.Last)
	c.src = api
	if store, err := storeOf(srv, DefaultStream); err != nil {
		e.opts.Logger.Warn("the log is read through the server's API, which is slower", "reason", err)
	} else {
		c.src = &directSource{store: store, names: names}
	}
	known, err := loadEpochs(e.opts.Dir)
	if err != nil {
		e.opts.Logger.Error("the history of the log's epochs cannot be read; a new one begins", "error", err)
	}
	c.epochs = nextEpochs(known, info.State.Last, time.Now())
	if err := saveEpochs(e.opts.Dir, c.epochs); err != nil {
		return err
	}
	c.pub, err = newPublisher(nc, names, c.head, nil)
	return err
}

// stop stops the server. It returns when the server has written everything.
func (e *embedded) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.srv == nil {
		return
	}
	e.nc.Close()
	e.srv.Shutdown()
	e.srv.WaitForShutdown()
	e.srv, e.nc = nil, nil
}

func (e *embedded) close(l *Log) error {
	l.core.Load().pub.fail(eventlog.ErrClosed)
	e.menders.Wait()
	l.core.Load().pub.fail(eventlog.ErrClosed)
	e.stop()
	return e.lock.Unlock()
}

// admit returns eventlog.ErrFull if there is no room for the messages.
func (e *embedded) admit(messages []eventlog.Message) error {
	if e.mending.Load() {
		return e.unwritable()
	}
	var n int64
	for _, m := range messages {
		n += int64(len(m.Topic)+len(m.Type)+len(m.Data)) + recordOverhead
	}
	if !e.room.allow(n) {
		return eventlog.ErrFull
	}
	return nil
}
