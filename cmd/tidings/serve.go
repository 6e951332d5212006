package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"example.com/tidings/internal/server"
)

// maxBuffer bounds --buffer; the ring is allocated at the start.
const maxBuffer = 1 << 20

const serveDescription = `Messages are posted to /messages and streamed from /events; / is a page for both:

   curl -N http://127.0.0.1:8080/events
   curl http://127.0.0.1:8080/messages -H 'content-type: application/json' -d '{"user":"ada","text":"hello"}'

Without --insecure-anonymous only this machine can reach it, and only pages of
its own origin or of an --allow-origin can use it. Messages are kept in memory:
who is not connected misses them.`

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:        "serve",
		Usage:       "serve a live feed",
		UsageText:   "tidings serve [options]",
		Description: serveDescription,
		Flags: []cli.Flag{
			&cli.StringFlag{
				Name: "addr", Sources: env("TIDINGS_ADDR"), Value: server.DefaultAddr,
				Usage: "listen on `HOST:PORT`; port 0 takes a free one",
			},
			&cli.IntFlag{
				Name: "buffer", Sources: env("TIDINGS_BUFFER"), Value: server.DefaultBuffer,
				Usage:     "keep the last `N` messages for slow subscribers; who falls further behind is told how many it missed",
				Validator: validBuffer,
			},
			&cli.DurationFlag{
				Name: "keep-alive", Sources: env("TIDINGS_KEEP_ALIVE"), Value: server.DefaultKeepAlive,
				Usage:     "send a comment on a stream that was silent for this `DURATION`; 0 sends none",
				Validator: notNegative,
			},
			&cli.StringSliceFlag{
				Name: "allow-host", Sources: env("TIDINGS_ALLOW_HOST"),
				Usage: "answer to this host `NAME`, too, besides localhost; repeat it, or separate names by commas",
			},
			&cli.StringSliceFlag{
				Name: "allow-origin", Sources: env("TIDINGS_ALLOW_ORIGIN"),
				Usage: "let pages of this `ORIGIN`, as http://localhost:5173, read and post; repeat it, or separate origins by commas",
			},
			&cli.BoolFlag{
				Name: "insecure-anonymous", Sources: env("TIDINGS_INSECURE_ANONYMOUS"),
				Usage: "allow an --addr that other machines can reach: whoever does can read and post",
			},
			&cli.StringFlag{
				Name: "log-format", Sources: env("TIDINGS_LOG_FORMAT"), Value: "text",
				Usage:     "log to stderr as `FORMAT`: text or json",
				Validator: oneOf("text", "json"),
			},
			&cli.StringFlag{
				Name: "log-level", Sources: env("TIDINGS_LOG_LEVEL"), Value: "info",
				Usage:     "log from this `LEVEL` on: debug, info, warn or error; debug logs each request",
				Validator: oneOf("debug", "info", "warn", "error"),
			},
		},
		Action: serve,
		// Not inherited from the parent.
		OnUsageError: usageError,
	}
}

// serve runs the server until ctx is done.
func serve(ctx context.Context, cmd *cli.Command) error {
	if cmd.Args().Present() {
		return fmt.Errorf("serve takes no argument, and got %q; see tidings serve --help", cmd.Args().First())
	}
	logger := newLogger(cmd.Root().ErrWriter, cmd.String("log-format"), cmd.String("log-level"))
	s, err := server.New(server.Config{
		Addr:              cmd.String("addr"),
		InsecureAnonymous: cmd.Bool("insecure-anonymous"),
		AllowHosts:        cmd.StringSlice("allow-host"),
		AllowOrigins:      cmd.StringSlice("allow-origin"),
		Feed:              server.NewMemory(cmd.Int("buffer")),
		KeepAlive:         keepAlive(cmd.Duration("keep-alive")),
		Logger:            logger,
	})
	if err != nil {
		return err
	}
	if err := s.Listen(ctx); err != nil {
		if _, ok := errors.AsType[*server.NotLoopbackError](err); ok {
			return err
		}
		return failure{err}
	}
	fmt.Fprintf(cmd.Root().Writer, "listening on %s\n", s.URL())
	if err := s.Run(ctx); err != nil {
		return failure{err}
	}
	return nil
}

// keepAlive returns the server's setting for that of the flag, of which 0
// switches keep-alives off.
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
	opts := &slog.HandlerOptions{Level: l}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// env makes an environment variable the source of a flag that is not given. One
// that is empty counts as not set.
func env(name string) cli.ValueSourceChain {
	return cli.NewValueSourceChain(variable(name))
}

// A variable is an environment variable, as a cli.ValueSource and
// cli.EnvValueSource.
type variable string

func (v variable) Lookup() (string, bool) {
	value := os.Getenv(string(v))
	return value, value != ""
}

func (v variable) IsFromEnv() bool  { return true }
func (v variable) Key() string      { return string(v) }
func (v variable) String() string   { return "the environment variable " + string(v) }
func (v variable) GoString() string { return strconv.Quote(string(v)) }

// oneOf returns a validator of a flag with a few possible values.
func oneOf(values ...string) func(string) error {
	return func(s string) error {
		if !slices.Contains(values, s) {
			return fmt.Errorf("want one of %s", strings.Join(values, ", "))
		}
		return nil
	}
}

func validBuffer(n int) error {
	if n < 1 || n > maxBuffer {
		return fmt.Errorf("want a number from 1 to %d", maxBuffer)
	}
	return nil
}

func notNegative(d time.Duration) error {
	if d < 0 {
		return errors.New("want 0 or more, as in 15s")
	}
	return nil
}
