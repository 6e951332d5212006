package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"example.com/tidings/eventsource"
	"example.com/tidings/hub"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

const subDescription = `Sub prints the data of each message, a line each, as it is published. It reconnects by
itself, and misses nothing and repeats nothing while it runs:

   tidings sub orders.42                           new messages of one topic
   tidings sub 'orders.*.status' 'users.**'        quote filters, or the shell replaces the *
   tidings sub --from 10 'orders.**'               first the newest 10
   tidings sub -e --from start 'orders.**'         all that there is, and end
   tidings sub --json orders.42 | jq -r .topic     whole messages: id, topic, type, data, time
   tidings sub --count 1 --timeout 30s ready       wait for one; status 124 if none comes
   tidings sub --cursor at.txt orders.42 | ./work  go on there after a restart

--from takes now, start, last (the newest of each topic), a number of messages, an id, or a
time such as 2026-01-31T12:00:00Z. The id in the file of --cursor wins over --from, and
--last-event-id over both. The file is written after the output, so after a crash the last
messages may come again. What a pipe holds is lost when its reader dies, some 64 KiB.

Only data goes to stdout. Missing messages and lost connections are reported on stderr. On a
terminal, control characters of messages are escaped. The exit code is 0 when the command has
done what it was told or nobody reads its output any more, 124 when fewer messages came than
--count asks for, 2 for a mistake in the call, and 1 when the hub refuses. Ctrl-C ends it as
it ends cat.`

func subCommand() *cli.Command {
	return &cli.Command{
		Name:        "sub",
		Usage:       "subscribe to topics, and print their messages",
		UsageText:   "tidings sub [options] TOPIC...",
		Description: subDescription,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "from", Value: "now", Usage: "begin `WHERE`: now, start, last, a number of messages, an id or a time"},
			&cli.StringFlag{Name: "last-event-id", Usage: "begin after the event with this `ID`"},
			&cli.StringFlag{Name: "cursor", Usage: "keep the id of the last message in `FILE`, and begin after it", TakesFile: true},
			&cli.BoolFlag{Name: "until-live", Aliases: []string{"e"}, Usage: "end when the messages that are stored have come"},
			&cli.IntFlag{Name: "count", Aliases: []string{"n"}, Usage: "end after `N` messages", Validator: between(1, math.MaxInt), HideDefault: true},
			&cli.DurationFlag{Name: "timeout", Usage: "end after `DURATION`, such as 30s", Validator: positive, HideDefault: true},
			&cli.DurationFlag{Name: "idle", Usage: "end after `DURATION` without a message", Validator: positive, HideDefault: true},
		}, append(outputFlags(), targetFlags()...)...),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			s, err := newSub(cmd)
			if err != nil {
				return err
			}
			s.query.Set("from", cmd.String("from"))
			s.client.LastEventID = cmd.String("last-event-id")
			if file := cmd.String("cursor"); file != "" {
				var id string
				if s.cursor, id, err = openCursor(file); err != nil {
					return failure{err}
				}
				if s.client.LastEventID == "" {
					s.client.LastEventID = id
				}
			}
			s.untilLive, s.count, s.timeout, s.idle = cmd.Bool("until-live"), cmd.Int("count"), cmd.Duration("timeout"), cmd.Duration("idle")
			return s.run(ctx)
		},
		DisableSliceFlagSeparator: true, // a header's value may hold a comma
		OnUsageError:              usageError,
	}
}

// outputFlags are those of the commands that print messages.
func outputFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "json", Usage: "print whole messages, as one JSON object a line: id, topic, type, data and time"},
		&cli.BoolFlag{Name: "null", Aliases: []string{"z"}, Usage: "end each message with a NUL instead of a line end, as for xargs -0"},
	}
}

// A sub prints the messages of a stream.
type sub struct {
	target *target
	query  url.Values
	client eventsource.Options
	out    *printer
	notes  *noter
	cursor *cursorFile // or nil

	untilLive     bool
	count         int // 0 means without end
	timeout, idle time.Duration

	printed int
	lost    bool // the connection, and the user was told so
}

// newSub returns a sub for the topics and the options that all commands have which print messages.
func newSub(cmd *cli.Command) (*sub, error) {
	args := cmd.Args().Slice()
	if len(args) == 0 {
		return nil, fmt.Errorf("%s needs a topic, as in tidings %[1]s 'orders.*'; see tidings %[1]s --help", cmd.Name)
	}
	filters, err := topicArgs(args)
	if err != nil {
		return nil, err
	}
	if _, err := hub.ParseFrom(cmd.String("from")); err != nil {
		return nil, fmt.Errorf("--from: %s", strings.TrimPrefix(err.Error(), "hub: the from "))
	}
	t, err := newTarget(cmd)
	if err != nil {
		return nil, err
	}
	s := &sub{target: t, query: topicQuery(filters), out: newPrinter(cmd), notes: newNoter(cmd.Root().ErrWriter, cmd.Bool("quiet"))}
	if files := eaten(args); files != "" {
		s.notes.notef("%s", files)
	}
	if s.out.json {
		s.query.Set("format", "envelope")
	}
	s.client = eventsource.Options{
		Header: t.header, Prepare: t.prepare, HubEvents: true, Logger: slog.New(slog.DiscardHandler), OnState: s.state,
	}
	return s, nil
}

// topicQuery returns the parameters topic.
func topicQuery(filters []topics.Filter) url.Values {
	q := url.Values{}
	for _, f := range filters {
		q.Add("topic", f.String())
	}
	return q
}

// What ends a sub beside the hub and a signal.
var (
	errTimeout = errors.New("the time is over")
	errIdle    = errors.New("no message came for as long as --idle says")
	errLive    = errors.New("the stored messages have come")
	errCounted = errors.New("as many messages came as were asked for")
)

// run prints messages until something ends that.
func (s *sub) run(ctx context.Context) error {
	signal.Ignore(syscall.SIGPIPE) // so that a write has an error instead
	defer endInTime(ctx, func() { s.cursor.save() })()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if s.timeout > 0 {
		defer time.AfterFunc(s.timeout, func() { cancel(errTimeout) }).Stop()
	}
	if s.idle > 0 {
		idle := time.AfterFunc(s.idle, func() { cancel(errIdle) })
		defer idle.Stop()
		s.out.writing = func(begins bool) { // a slow reader is no silence
			if begins {
				idle.Stop()
			} else {
				idle.Reset(s.idle)
			}
		}
	}
	if f, ok := s.out.w.(*os.File); ok {
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			if readerLeft(f, stop) {
				cancel(errReaderLeft)
			}
		}()
	}
	if s.untilLive {
		s.query.Set("live", "true")
	}
	err := s.verdict(s.print(ctx))
	if saveErr := s.cursor.save(); err == nil {
		err = saveErr
	}
	return err
}

// verdict returns the error of the command for what has ended it.
func (s *sub) verdict(err error) error {
	switch {
	case err == nil, errors.Is(err, errTimeout), errors.Is(err, errIdle), errors.Is(err, errLive):
		if s.printed < s.count {
			return &tooFew{s.printed, s.count, err}
		}
		return nil
	case errors.Is(err, errCounted), errors.Is(err, errReaderLeft):
		return nil
	}
	return err
}

// A tooFew is the error of a command that got fewer messages than it was to get.
type tooFew struct {
	got, want int
	because   error // or nil
}

func (e *tooFew) Error() string {
	text := fmt.Sprintf("%d of %d messages came", e.got, e.want)
	if e.because != nil {
		text += ": " + e.because.Error()
	}
	return text
}

// print prints what comes, and returns why it ends.
func (s *sub) print(ctx context.Context) error {
	client := eventsource.New(s.target.base+"/events?"+s.query.Encode(), &s.client)
	for ev, err := range client.Events(ctx) {
		if gap, ok := errors.AsType[*sse.GapError](err); ok {
			s.gap(gap)
			err = nil
		} else if large, ok := errors.AsType[*eventsource.TooLargeError](err); ok {
			s.notes.notef("a message of %d bytes was left out: it is larger than %d", large.Size, large.Limit)
			ev.ID = large.ID
			err = nil
		} else if err == nil {
			err = s.event(ev)
		}
		if err != nil {
			return s.explain(ctx, err)
		}
		if err := s.cursor.move(ev.ID); err != nil {
			return err
		}
		if s.count > 0 && s.printed == s.count {
			return errCounted
		}
		if s.untilLive && ev.Type == hub.LiveEventType {
			return errLive
		}
	}
	return nil // the topic has ended
}

// event prints an event, unless it is one of the hub's own.
func (s *sub) event(ev sse.Event) error {
	if strings.HasPrefix(ev.Type, topics.ReservedPrefix) {
		return nil
	}
	if err := s.out.print(ev.Data); err != nil {
		return err
	}
	s.printed++
	return nil
}

// gap reports that messages are missing.
func (s *sub) gap(gap *sse.GapError) {
	missed := "messages are missing"
	if gap.Missed > 0 {
		missed = fmt.Sprintf("%d messages are missing", gap.Missed)
	}
	s.notes.notef("%s here (%s)", missed, gap.Reason)
}

// explain returns the error of the command for the last one of a sequence.
func (s *sub) explain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if _, ok := errors.AsType[failure](err); ok || errors.Is(err, errReaderLeft) {
		return err
	}
	return failure{errors.New(explained(s.target.name, err))}
}

// state tells the user that the connection is lost, and that it is there again.
func (s *sub) state(state eventsource.State) {
	switch state.Phase {
	case eventsource.Waiting, eventsource.Muted:
		if !s.lost {
			s.lost = true
			s.notes.notef("%s; trying again", explained(s.target.name, state.Err))
		}
	case eventsource.Open:
		if s.lost {
			s.lost = false
			s.notes.notef("connected to %s", s.target.name)
		}
	}
}
