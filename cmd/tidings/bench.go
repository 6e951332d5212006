package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"example.com/tidings/internal/bench"
)

const benchDescription = `The bench opens many streams on a running hub, publishes messages, and checks that
every subscriber gets every message once and in order. Then it prints its figures:

   tidings bench --subscribers 5000 --messages 200
   tidings bench --url https://hub.example --header 'Authorization: Bearer TOKEN' --rate 20
   tidings bench --pid $(pidof tidings) --in-flight 8

The bench publishes only to topics of its own, bench.RUN.N. The hub's retention
removes the messages. The exit code is 1 if a message is missing, repeated or out
of order, or if anything else is wrong. Interrupt the bench to end it early.`

func benchCommand() *cli.Command {
	return &cli.Command{
		Name:        "bench",
		Usage:       "put load on a running hub, and measure it",
		UsageText:   "tidings bench [options]",
		Description: benchDescription,
		Flags: []cli.Flag{
			&cli.StringFlag{
				Name: "url", Sources: env("TIDINGS_BENCH_URL"), Value: bench.DefaultURL,
				Usage: "the base `URL` of the hub's API, http or https",
			},
			&cli.StringSliceFlag{
				Name: "header", Sources: env("TIDINGS_BENCH_HEADER"),
				// No validator: its error would repeat the value, which may be a secret.
				Usage: "send the header `'NAME: VALUE'`, such as a token, with every request; repeat the flag for more headers",
			},
			&cli.IntFlag{
				Name: "subscribers", Value: bench.DefaultSubscribers,
				Usage:     "open `N` streams",
				Validator: between(1, bench.MaxSubscribers),
			},
			&cli.IntFlag{
				Name: "topics", Value: 1,
				Usage:     "spread the subscribers over `N` topics; messages go to the topics in turn",
				Validator: between(1, bench.MaxTopics),
			},
			&cli.IntFlag{
				Name: "messages", Value: bench.DefaultMessages,
				Usage:     "publish `N` messages",
				Validator: between(1, bench.MaxMessages),
			},
			&cli.IntFlag{
				Name: "payload", Value: bench.DefaultPayload,
				Usage:     "the size of a message, in `BYTES`",
				Validator: between(bench.MinPayload, bench.MaxPayload),
			},
			&cli.IntFlag{
				Name: "in-flight", Value: 1,
				Usage:     "keep up to `N` messages in flight: published, but not yet received by all their subscribers",
				Validator: between(1, bench.MaxInFlight),
			},
			&cli.FloatFlag{
				Name:        "rate",
				Usage:       "publish `N` messages a second, without waiting for deliveries as --in-flight does; latency counts from when a message was due",
				Validator:   validRate,
				HideDefault: true,
			},
			&cli.IntFlag{
				Name: "publishers", Value: 1,
				Usage:     "publish over `N` connections, at most one per topic",
				Validator: between(1, bench.MaxPublishers),
			},
			&cli.IntFlag{
				Name:        "pid",
				Usage:       "measure the CPU and memory of the server, which is process `PID` on this machine (Linux only)",
				Validator:   between(1, math.MaxInt32),
				HideDefault: true,
			},
			&cli.DurationFlag{
				Name:        "idle",
				Usage:       "leave the streams idle for `DURATION` before measuring memory; the default is 2s with --pid, and 0 without",
				Validator:   notNegative,
				HideDefault: true,
			},
			&cli.DurationFlag{
				Name: "timeout", Value: bench.DefaultTimeout,
				Usage:     "give up when messages are due but none arrives for `DURATION`",
				Validator: positive,
			},
			&cli.BoolFlag{
				Name:  "json",
				Usage: "print one JSON object instead of the table; docs/performance.md describes it",
			},
			&cli.BoolFlag{
				Name:  "quiet",
				Usage: "print no progress on stderr",
			},
		},
		Action: runBench,
		// A header's value may hold a comma.
		DisableSliceFlagSeparator: true,
		// Not inherited from the parent.
		OnUsageError: usageError,
	}
}

// runBench runs the bench and prints its report.
func runBench(ctx context.Context, cmd *cli.Command) error {
	if cmd.Args().Present() {
		return fmt.Errorf("bench takes no arguments, but got %q; see tidings bench --help", cmd.Args().First())
	}
	header, err := parseHeaders(cmd.StringSlice("header"))
	if err != nil {
		return err
	}
	cfg := bench.Config{
		URL: cmd.String("url"), Header: header,
		Subscribers: cmd.Int("subscribers"), Topics: cmd.Int("topics"), Messages: cmd.Int("messages"),
		Payload: cmd.Int("payload"), Publishers: cmd.Int("publishers"), Rate: cmd.Float("rate"),
		PID: cmd.Int("pid"), Timeout: cmd.Duration("timeout"),
	}
	if cmd.IsSet("in-flight") || cfg.Rate == 0 {
		cfg.InFlight = cmd.Int("in-flight")
	}
	if cmd.IsSet("idle") {
		cfg.Idle = bound(cmd.Duration("idle")) // the bench takes 0 for the default
	}
	if !cmd.Bool("quiet") {
		cfg.Progress = progress(cmd.Root().ErrWriter, time.Now())
	}
	b, err := bench.New(cfg)
	if err != nil {
		return err
	}
	report, err := b.Run(ctx)
	if err != nil {
		return failure{err}
	}
	write := report.WriteTable
	if cmd.Bool("json") {
		write = report.WriteJSON
	}
	if err := write(cmd.Root().Writer); err != nil {
		return failure{err}
	}
	if err := report.Verdict(); err != nil {
		return failure{err}
	}
	return nil
}

// progress returns a function that writes lines with the time since start.
func progress(w io.Writer, start time.Time) func(string) {
	return func(line string) { fmt.Fprintf(w, "%4.0f s: %s\n", time.Since(start).Seconds(), line) }
}

// parseHeaders parses lines of the form 'Name: value'. Its error does not repeat a
// value, which may be a secret.
func parseHeaders(lines []string) (http.Header, error) {
	h := http.Header{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, errors.New("--header: want 'NAME: VALUE', as in 'Authorization: Bearer TOKEN'")
		}
		h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return h, nil
}

func validRate(r float64) error {
	if !(r > 0 && r <= bench.MaxRate) {
		return fmt.Errorf("want more than 0 and up to %d messages a second", bench.MaxRate)
	}
	return nil
}

func positive(d time.Duration) error {
	if d <= 0 {
		return errors.New("want more than 0, as in 10s")
	}
	return nil
}
