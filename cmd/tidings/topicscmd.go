package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/signal"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"example.com/tidings/eventlog"
)

const topicsDescription = `Topics lists the topics that have a retained message, by name: the topic, its number of
messages, and the time and the id of the newest one.

   tidings topics                                  all of them
   tidings topics 'orders.*'                       those that a filter matches
   tidings topics --json | jq -r .topic            one JSON object a line

In a pipe the columns are separated by tabs.`

func topicsCommand() *cli.Command {
	return &cli.Command{
		Name:        "topics",
		Usage:       "list the topics of a hub",
		UsageText:   "tidings topics [options] [FILTER]",
		Description: topicsDescription,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object a line: topic, last, count and time"},
		}, targetFlags()...),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			q := url.Values{"limit": {"1000"}}
			switch args := cmd.Args().Slice(); {
			case len(args) > 1:
				return fmt.Errorf("topics takes one filter, and got %d arguments. %s", len(args), eaten(args))
			case len(args) == 1:
				filters, err := topicArgs(args)
				if err != nil {
					return err
				}
				q.Set("match", filters[0].String())
			}
			t, err := newTarget(cmd)
			if err != nil {
				return err
			}
			return ignoreReader(listTopics(ctx, t, q, cmd))
		},
		DisableSliceFlagSeparator: true, // a header's value may hold a comma
		OnUsageError:              usageError,
	}
}

// listTopics prints the pages of the list.
func listTopics(ctx context.Context, t *target, q url.Values, cmd *cli.Command) error {
	signal.Ignore(syscall.SIGPIPE) // so that a write has an error instead
	w := cmd.Root().Writer
	terminal := isTerminal(w)
	for {
		var page struct {
			Topics []eventlog.TopicInfo
			Next   string
		}
		if err := t.get(ctx, "/topics", q, &page); err != nil {
			return asked(ctx, err)
		}
		var b bytes.Buffer
		for _, info := range page.Topics {
			if cmd.Bool("json") {
				b.WriteString(plainJSON(string(jsonLine(info))) + "\n")
				continue
			}
			fmt.Fprintf(&b, "%s\t%s\t%s\t%s\n", visible(info.Topic), strconv.FormatUint(info.Count, 10), info.Time.Format(time.RFC3339), info.Last)
		}
		if terminal && !cmd.Bool("json") {
			b = aligned(b.Bytes())
		}
		if err := writeOut(w, b.Bytes()); err != nil {
			return err
		}
		if page.Next == "" {
			return nil
		}
		q.Set("after", page.Next)
	}
}

// aligned returns a table whose columns are aligned in place of tabs.
func aligned(table []byte) (b bytes.Buffer) {
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	w.Write(table)
	w.Flush()
	return b
}

// asked returns the error of a command whose question has failed.
func asked(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if errors.Is(err, errReaderLeft) {
		return err
	}
	return failure{err}
}
