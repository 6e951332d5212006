//go:build linux

package main

import (
	"errors"
	"flag"
	"math"
	"time"
)

// What storm has measured.
type stormResult struct {
	Others    int     `json:"others"`
	Returning int     `json:"returning"`
	Behind    int     `json:"behind"`
	Before    spread  `json:"before"` // live latency of the others
	During    spread  `json:"during"` // of what was published from the drop until all had caught up
	After     spread  `json:"after"`
	Ratio     float64 `json:"p99_ratio"`   // during, against before
	Dropped   float64 `json:"dropped_ms"`  // since the drop began, as the next two: the last is gone
	Returned  float64 `json:"returned_ms"` // the last is connecting again
	CaughtUp  float64 `json:"caught_up_ms"`
	Caught    int     `json:"caught_up"` // how many of the returning have
	Missing   int     `json:"missing"`   // messages, of all subscribers
	Disorder  int     `json:"disorder"`  // messages that came a second time, or late
	Closed    int     `json:"closed"`    // connections that the server has ended
}

// storm has subscribers drop and come back with the id of an event that is some
// messages old, while others get messages at a steady rate. It tells how long
// these take for the others before and meanwhile, and until when all that came
// back have caught up.
func storm(args []string) (any, error) {
	var t target
	flags := flag.NewFlagSet("load storm", flag.ExitOnError)
	t.register(flags)
	others := flags.Int("others", 1000, "subscribers that stay, and are measured")
	returning := flags.Int("returning", 10000, "subscribers that drop and come back")
	behind := flags.Int("behind", 500, "how many messages they are behind")
	within := flags.Duration("within", time.Second, "how long it takes from the drop until the last comes back")
	rate := flags.Float64("rate", 10, "messages a second")
	before := flags.Duration("before", 5*time.Second, "how long it is measured before they drop")
	after := flags.Duration("after", 3*time.Second, "how long it is measured when all have caught up")
	bound := flags.Duration("bound", 60*time.Second, "when to give up that all catch up")
	idle := flags.Duration("idle", 2*time.Second, "the rest before the first message")
	apart := flags.Bool("apart", false, "the others have a topic of their own: only they get messages meanwhile")
	if err := t.parse(flags, args); err != nil {
		return nil, err
	}
	if *behind < 1 || *rate <= 0 {
		return nil, errors.New("-behind and -rate are more than 0")
	}

	most := int((*before+*after+*bound+20*time.Second).Seconds()**rate) * *others
	g, err := newGale(t, *others, *returning, most, *apart)
	if err != nil {
		return nil, err
	}
	// What those who come back will be behind is there before anybody subscribes.
	if err := g.history.publish(*behind + 1); err != nil {
		return nil, err
	}
	for _, c := range []*crowd{g.others, g.returning} {
		if err := g.subscribe(c); err != nil {
			return nil, err
		}
	}
	first := g.live.posted
	g.interval = int64(float64(time.Second) / *rate)
	g.due = now() + int64(*idle)
	if err := g.runUntil(g.due + int64(*before)); err != nil {
		return nil, err
	}

	drop, dropped := g.live.posted, now()
	result := stormResult{Others: *others, Returning: *returning, Behind: *behind}
	if err := g.drop(); err != nil {
		return nil, err
	}
	result.Dropped = milliseconds(now() - dropped)
	if err := g.comeBack(len(g.history.ids)-*behind, dropped, int64(*within)); err != nil {
		return nil, err
	}
	result.Returned = milliseconds(now() - dropped)
	until := dropped + int64(*bound)
	if err := g.run(func() bool { return g.caught == *returning || now() > until }); err != nil {
		return nil, err
	}
	result.CaughtUp = milliseconds(max(g.lastCaught-dropped, 0))
	caught := g.live.posted

	if err := g.runUntil(now() + int64(*after)); err != nil {
		return nil, err
	}
	g.interval = 0
	until = now() + patience
	if err := g.run(func() bool { return g.owed() == 0 || now() > until }); err != nil {
		return nil, err
	}

	result.Before = newSpread(g.latencies(first, drop))
	result.During = newSpread(g.latencies(drop, caught))
	result.After = newSpread(g.latencies(caught, g.live.posted))
	if result.Before.P99 > 0 {
		result.Ratio = math.Round(result.During.P99/result.Before.P99*1000) / 1000
	}
	result.Caught = g.caught
	result.Missing = g.missing + g.owed()
	result.Disorder = g.disorder
	result.Closed = g.others.closed + g.returning.closed
	return result, nil
}
