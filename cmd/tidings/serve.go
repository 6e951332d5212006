package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/server"
	"example.com/tidings/internal/yield"
)

// The defaults and bounds of settings.
const (
	defaultBuffer  = 8192
	maxBuffer      = 1 << 20
	defaultMessage = 512 << 10
	maxMessage     = 7 << 20 // with its headers, it fits into the 8 MiB up to which NATS advises to raise max_payload
)

// hubMessage is the smallest MaxMessage of the hub. The body of POST /messages has up
// to 2 MiB, and its JSON may double in size when it is encoded again.
const hubMessage = 4 << 20

const serveDescription = `Post messages to /topics/TOPIC and stream them from /events?topic=TOPIC. The page at / does both:

   curl -N 'http://127.0.0.1:8080/events?topic=orders.**'
   curl http://127.0.0.1:8080/topics/orders.42 -d 'shipped'

The server stores messages in the folder tidings-data. An acknowledged message is on
the disk: it survives a crash and a power failure. A subscriber that reconnects with the
id of its last event continues after it.

By default only this machine can reach the server (see --insecure-anonymous), and
only web pages of its own origin can use it (see --allow-origin).`

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:        "serve",
		Usage:       "serve a hub of durable topics",
		UsageText:   "tidings serve [options]",
		Description: serveDescription,
		Flags: slices.Concat([]cli.Flag{
			text("addr", server.DefaultAddr, nil, "listen on `HOST:PORT`; port 0 picks a free port"),
		}, addressFlags(), storeFlags(), []cli.Flag{
			text("max-message", formatSize(defaultMessage), validSize(1, maxMessage), "refuse messages of POST /topics and /batch with more data than `SIZE`"),
			&cli.IntFlag{
				Name: "max-subscribers", Sources: env("TIDINGS_MAX_SUBSCRIBERS"),
				Usage:       "serve up to `N` streams, and ask further clients to retry later; 0 means no limit; by default what the descriptors and the memory allow",
				Validator:   between(0, math.MaxInt),
				HideDefault: true,
			},
			&cli.StringFlag{
				Name: flagOfMemory, Sources: env("TIDINGS_MAX_MEMORY"),
				Usage:       "use up to `SIZE` of memory; by default what the cgroup or the machine has, less a margin",
				Validator:   validMemory,
				HideDefault: true,
			},
			number("buffer", defaultBuffer, between(1, maxBuffer), "keep the newest `N` messages in memory; subscribers that are further behind read from the log"),
			period("keep-alive", server.DefaultKeepAlive, notNegative, "send a keep-alive comment after `DURATION` of silence on a stream; 0 sends none"),
			toggle("take-over", true, "on Linux, serve streams without net/http at a fraction of the cost; --take-over=false uses net/http"),
			toggle("h2c", false, "let clients speak HTTP/2 without TLS, as proxies may"),
			list("allow-host", "accept requests for the host `NAME` besides localhost; repeat the flag, or separate names with commas"),
			list("allow-origin", "let pages of `ORIGIN`, such as http://localhost:5173, read and post; repeat the flag, or separate origins with commas"),
			toggle("insecure-anonymous", false, "without --keys and --jwt-key, allow an --addr that other machines can reach; anyone who reaches it can read and post everything"),
			text("log-format", "text", oneOf("text", "json"), "log to stderr as `FORMAT`: text or json"),
			text("log-level", "info", oneOf("debug", "info", "warn", "error"), "log at `LEVEL` and above: debug, info, warn or error; debug logs each request"),
		}, accessFlags()),
		Action: serve,
		// Not inherited from the parent.
		OnUsageError: usageError,
	}
}

// serve runs the server until ctx is done.
func serve(ctx context.Context, cmd *cli.Command) error {
	if cmd.Args().Present() {
		return fmt.Errorf("serve takes no arguments, but got %q; see tidings serve --help", cmd.Args().First())
	}
	// Otherwise the server would die when the reader of its log does.
	signal.Ignore(syscall.SIGPIPE)
	stderr := cmd.Root().ErrWriter
	var opened atomic.Pointer[hub.Hub]
	defer exitAfter(ctx, stopTime, func() {
		fmt.Fprintf(stderr, "tidings: %v\n", whyLate(opened.Load()))
		if w, ok := stderr.(*lossyWriter); ok {
			w.Flush(flushTime)
		}
		os.Exit(1)
	})()
	logger := newLogger(stderr, cmd.String("log-format"), cmd.String("log-level"))
	credentials, err := newAuthenticator(cmd, logger)
	if err != nil {
		return err
	}
	memory, err := planMemory(size(cmd, flagOfMemory), os.Getenv(goMemLimit), debug.SetMemoryLimit(-1), os.DirFS("/"), logger)
	if err != nil {
		return err
	}
	memory.apply()
	go tuneGC(ctx)
	yield.Share() // half of the machine's processors: Go gets more of its own later
	pair, err := newPair(cmd, logger)
	if err != nil {
		return err
	}
	takeOver := cmd.Bool("take-over") && runtime.GOOS == "linux" && pair == nil
	limits := server.NewLimits(memory.limit, takeOver, sides(cmd))
	store, err := newStore(cmd, memory, limits, logger)
	if err != nil {
		return err
	}
	s, err := server.New(server.Config{
		Addr:              cmd.String("addr"),
		InsecureAnonymous: cmd.Bool("insecure-anonymous"),
		AllowHosts:        cmd.StringSlice("allow-host"),
		AllowOrigins:      cmd.StringSlice("allow-origin"),
		Auth:              credentials,
		PublicURL:         cmd.String("public-url"),
		AdminAddr:         cmd.String("admin-addr"),
		TLS:               pair,
		HTTPRedirect:      cmd.String("http-redirect"),
		MaxMessage:        int(size(cmd, "max-message")),
		DefaultTopic:      defaultTopic,
		KeepAlive:         keepAlive(cmd.Duration("keep-alive")),
		H2C:               cmd.Bool("h2c"),
		Limits:            limits,
		Logger:            logger,
		DroppedLines:      droppedLines(stderr),
	})
	if err != nil {
		return err
	}
	if cmd.Bool("check") {
		clients, operator, err := s.Reach(ctx)
		if err != nil {
			return notListening(err)
		}
		writeAccess(cmd.Root().Writer, cmd, credentials, clients)
		writeOthers(cmd.Root().Writer, cmd, credentials, operator)
		return s.Close()
	}
	abandon, err := store.reach(ctx)
	if err != nil {
		s.Close()
		if ctx.Err() != nil {
			return nil // a signal came while NATS was away
		}
		return failure{err}
	}
	if err := s.Listen(ctx); err != nil {
		abandon()
		return notListening(err)
	}
	subscribers := limits.Subscribers
	if cmd.IsSet("max-subscribers") {
		subscribers = cmd.Int("max-subscribers")
	}
	h, err := openHub(ctx, cmd, store, hub.Options{WindowBytes: memory.window, ClientBytes: memory.clients, MaxSubscribers: subscribers, Logger: logger})
	if err != nil {
		s.Close()
		if ctx.Err() != nil {
			return nil // a signal came while the log was opening
		}
		return failure{err}
	}
	if pair != nil {
		go everyTick(ctx, pair.Watch)
	}
	if credentials != nil {
		go watchKeys(ctx, credentials, func(subject string) {
			if err := h.Disconnect(ctx, subject); err != nil {
				logger.Error("the streams of a key that is gone or allows less could not be ended", "subject", subject, "error", err)
			}
		})
	}
	opened.Store(h)
	moreProcessors() // the hub has as many shards as fit the machine
	memory.tell(logger, subscribers, limits)
	writeAddresses(cmd.Root().Writer, s)
	if err := s.Run(ctx, h); err != nil {
		return failure{err}
	}
	return nil
}

// notListening returns the error of an address that the server does not listen on: a mistake in the
// settings, or a failure.
func notListening(err error) error {
	if _, ok := errors.AsType[*server.NotLoopbackError](err); ok {
		return err
	}
	return failure{err}
}

// stopTime is how long the server may take to stop after a signal. Service managers kill what
// does not stop, and a deployment waits for it.
const stopTime = 2300 * time.Millisecond

// whyLate says why the server has not stopped within stopTime: the log's own reason if that has
// failed, since then the disk may hang. h is nil while the log opens.
func whyLate(h *hub.Hub) error {
	if h != nil {
		if err := h.Err(); err != nil {
			return err
		}
	}
	return fmt.Errorf("the server has not stopped within %v of the signal, and ends now; what it has acknowledged is stored", stopTime)
}

// exitAfter calls exit some time after ctx is done, unless stop is called before.
func exitAfter(ctx context.Context, wait time.Duration, exit func()) (stop func()) {
	stopped := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(wait):
			exit()
		case <-stopped:
		}
	})
	return func() {
		unwatch()
		close(stopped)
	}
}

// droppedLines returns a function that returns how many lines of the log were dropped, or
// nil if w drops none.
func droppedLines(w io.Writer) func() uint64 {
	if l, ok := w.(*lossyWriter); ok {
		return l.Dropped
	}
	return nil
}

// defaultTopic is the topic of a stream whose request names none, and of POST /messages.
const defaultTopic = "messages"

// openHub opens the store and starts a hub on it. It adds the settings of cmd to opts.
func openHub(ctx context.Context, cmd *cli.Command, store store, opts hub.Options) (*hub.Hub, error) {
	start := time.Now()
	log, err := store.open(ctx)
	if err != nil {
		return nil, err
	}
	var state eventlog.State
	opts.Window = cmd.Int("buffer")
	opts.MaxMessage = int(max(hubMessage, size(cmd, "max-message")))
	opts.KeepAlive = keepAlive(cmd.Duration("keep-alive"))
	opts.WriteTimeout = server.DefaultWriteTimeout
	opts.TakeOver = cmd.Bool("take-over")
	opts.MaxCredentialAge = cmd.Duration("max-token-age")
	h, err := hub.New(ctx, log, &opts)
	if err == nil {
		state, err = log.State(ctx)
	}
	if err != nil {
		log.Close()
		return nil, err
	}
	opts.Logger.Info("messages are stored", "in", store.where, "messages", state.Last+1-state.First, "opened_in", time.Since(start).Round(time.Millisecond))
	return h, nil
}

// keepAlive converts the flag, where 0 means off, to the server's setting, where
// a negative value means off.
func keepAlive(flag time.Duration) time.Duration {
	if flag == 0 {
		return -1
	}
	return flag
}

func newLogger(w io.Writer, format, level string) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		panic(err) // the flag is validated
	}
	opts := &slog.HandlerOptions{Level: l, ReplaceAttr: redact}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
