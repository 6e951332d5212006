package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"example.com/tidings/eventsource/publish"
	"example.com/tidings/topics"
)

const pubDescription = `Pub publishes one message, or each line of its standard input:

   tidings pub orders.42 shipped                   one message; prints its id
   tidings pub orders.42 '{"state":"shipped"}' --type status
   echo -n "$TEXT" | tidings pub orders.42 -       each line is a message
   journalctl -f | tidings pub logs.$(hostname)    also while the hub restarts
   tidings pub --ndjson orders < orders.ndjson     lines as {"data": …, "type": …, "topic": …}

A message that the hub may have stored already is sent again with the same key, so that it is
stored once. While the hub is away pub waits, and reads no further. It gives up when the hub
might no longer know the keys, after minutes or hours, and then says what is stored and what
is not.

Lines are sent together: after 50 ms, or 1,000 of them. A line end of Windows is removed, too.
With --ndjson a line has the fields of POST /batch: data, type, key, and topic, which is TOPIC
where it is missing. A line that cannot be published is named and left out.

The exit code is 0 when everything is stored, 1 when something is not, and 2 for a mistake in
the call.`

func pubCommand() *cli.Command {
	return &cli.Command{
		Name:        "pub",
		Usage:       "publish a message, or the lines of the standard input",
		UsageText:   "tidings pub [options] TOPIC [DATA|-]",
		Description: pubDescription,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "type", Usage: "publish with the event `TYPE`"},
			&cli.StringFlag{Name: "key", Usage: "publish DATA with an idempotency `KEY` of your own: it is stored once, however often you call this"},
			&cli.BoolFlag{Name: "ndjson", Usage: "read a JSON object a line: data, type, key and topic"},
		}, targetFlags()...),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			signal.Ignore(syscall.SIGPIPE) // so that a write has an error instead
			p, err := newPub(cmd)
			if err != nil {
				return err
			}
			if args := cmd.Args().Slice(); len(args) == 2 && args[1] != "-" {
				return p.one(ctx, args[1], cmd.String("key"))
			}
			return p.lines(ctx, cmd.Root().Reader)
		},
		DisableSliceFlagSeparator: true, // a header's value may hold a comma
		OnUsageError:              usageError,
	}
}

// A pub publishes.
type pub struct {
	client *publish.Client
	topic  string // may be empty with ndjson
	typ    string
	ndjson bool
	out    io.Writer
	notes  *noter
	hub    string      // its URL, for messages
	away   atomic.Bool // the hub, and the user was told so
	*tally
}

func newPub(cmd *cli.Command) (*pub, error) {
	args := cmd.Args().Slice()
	p := &pub{typ: cmd.String("type"), ndjson: cmd.Bool("ndjson"), out: cmd.Root().Writer, notes: newNoter(cmd.Root().ErrWriter, cmd.Bool("quiet"))}
	data := len(args) == 2 && args[1] != "-"
	switch {
	case len(args) == 0 && !p.ndjson:
		return nil, errors.New("pub needs a topic, as in tidings pub orders.42 shipped; see tidings pub --help")
	case len(args) > 2:
		return nil, fmt.Errorf("pub takes a topic and one message, and got %d arguments: quote a message that has spaces. %s", len(args), eaten(args))
	case data && p.ndjson:
		return nil, errors.New("--ndjson reads the standard input, so there can be no DATA")
	case !data && cmd.IsSet("key"):
		return nil, errors.New("--key is for one message: with it, DATA has to be given. Lines of --ndjson have a key each")
	}
	if len(args) > 0 && args[0] != "-" {
		p.topic = args[0]
		if err := topics.Check(p.topic); err != nil {
			return nil, mistaken("topic", p.topic, err)
		}
	} else if !p.ndjson {
		return nil, errors.New("the first argument is the topic, as in tidings pub orders.42 -")
	}
	t, err := newTarget(cmd)
	if err != nil {
		return nil, err
	}
	p.hub = t.name
	p.tally = newTally(p.notes, cmd.Root().ErrWriter)
	p.client = publish.New(t.base, &publish.Options{Header: t.header, Prepare: t.prepare, OnRetry: p.retry})
	return p, nil
}

// retry tells the user that the hub is away. Requests are sent one after the other.
func (p *pub) retry(err error, _ time.Duration) {
	if !p.away.Swap(true) {
		p.notes.notef("%s; trying again", p.why(err))
	}
}

// why explains an error of a message or of a request.
func (p *pub) why(err error) string { return explained(p.hub, err) }

// one publishes one message, and prints its id.
func (p *pub) one(ctx context.Context, data, key string) error {
	defer endInTime(ctx, func() {})()
	result, err := p.client.Publish(ctx, publish.Message{Topic: p.topic, Type: p.typ, Data: data, Key: key})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	switch result.Outcome {
	case publish.Stored:
		return ignoreReader(writeOut(p.out, []byte(result.ID+"\n")))
	case publish.Unknown:
		return failure{fmt.Errorf("it is not known whether the message is stored: %s. Publishing it again with --key %s is safe", p.why(result.Err), result.Key)}
	}
	return failure{fmt.Errorf("the message is not stored: %s", p.why(err))}
}

// ignoreReader returns nil if the reader of the output has left.
func ignoreReader(err error) error {
	if errors.Is(err, errReaderLeft) {
		return nil
	}
	return err
}

// isInput reports whether a person types the lines.
func isInput(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && isTerminal(f)
}
