package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/urfave/cli/v3"

	"example.com/tidings/hub"
	"example.com/tidings/sse"
)

const historyDescription = `History prints the retained messages of topics, oldest first:

   tidings history orders.42                       all of them
   tidings history --tail 20 'orders.**'           the newest 20
   tidings history --tail 20 -f 'orders.**'        and those that follow
   tidings history --reverse --tail 5 orders.42    newest first
   tidings history --json orders.42 | jq .time     whole messages, one JSON object a line

Nothing falls between the last stored message and the first new one.`

func historyCommand() *cli.Command {
	return &cli.Command{
		Name:        "history",
		Usage:       "print the retained messages of topics",
		UsageText:   "tidings history [options] TOPIC...",
		Description: historyDescription,
		Flags: append([]cli.Flag{
			&cli.IntFlag{Name: "tail", Aliases: []string{"n"}, Usage: "begin with the newest `N` messages", Validator: between(1, math.MaxInt), HideDefault: true},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with new messages"},
			&cli.BoolFlag{Name: "reverse", Aliases: []string{"r"}, Usage: "print the newest message first"},
		}, append(outputFlags(), targetFlags()...)...),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			s, err := newSub(cmd)
			if err != nil {
				return err
			}
			tail := cmd.Int("tail")
			if cmd.Bool("reverse") {
				if cmd.Bool("follow") {
					return errors.New("--reverse prints what is stored, and --follow what follows: use one of them")
				}
				return ignoreReader(s.reverse(ctx, tail))
			}
			s.query.Set("from", "start")
			if tail > hub.MaxFromCount {
				return fmt.Errorf("--tail: want up to %d messages, or no --tail for all", hub.MaxFromCount)
			}
			if tail > 0 {
				s.query.Set("from", strconv.Itoa(tail))
			}
			s.untilLive = !cmd.Bool("follow")
			return s.run(ctx)
		},
		DisableSliceFlagSeparator: true, // a header's value may hold a comma
		OnUsageError:              usageError,
	}
}

// reverse prints messages newest first, page by page. most is 0 for all.
func (s *sub) reverse(ctx context.Context, most int) error {
	signal.Ignore(syscall.SIGPIPE) // so that a write has an error instead
	const pageEvents = 200
	q := url.Values{"topic": s.query["topic"], "order": {"desc"}}
	for most == 0 || s.printed < most {
		limit := pageEvents
		if most > 0 {
			limit = min(limit, most-s.printed)
		}
		q.Set("limit", strconv.Itoa(limit))
		var page struct {
			Gap    *sse.GapError
			Events []hub.Event
			Next   string
			More   bool
		}
		if err := s.target.get(ctx, "/history", q, &page); err != nil {
			return asked(ctx, err)
		}
		if page.Gap != nil {
			s.gap(page.Gap)
		}
		for _, ev := range page.Events {
			data := ev.Data
			if s.out.json {
				data = string(jsonLine(ev))
			}
			if err := s.out.print(data); err != nil {
				return err
			}
			s.printed++
		}
		if !page.More {
			return nil
		}
		q.Set("before", page.Next)
	}
	return nil
}

// jsonLine returns JSON on one line, of what is made of strings, numbers and times.
func jsonLine(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
