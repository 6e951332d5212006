//go:build linux

package main

import (
	"errors"
	"flag"
	"math"
	"time"

	"example.com/tidings/bench/internal/measure"
)

// A stormResult is what storm has measured.
type stormResult struct {
	Others    int            `json:"others"`
	Returning int            `json:"returning"`
	Behind    int            `json:"behind"`
	Before    measure.Spread `json:"before"` // live latency of the others
	During    measure.Spread `json:"during"` // of messages published from the drop until all had caught up
	After     measure.Spread `json:"after"`
	Ratio     float64        `json:"p99_ratio"`   // during, against before
	Dropped   float64        `json:"dropped_ms"`  // the last is closed; counts from the start of the drop, like the next two
	Returned  float64        `json:"returned_ms"` // the last is reconnecting
	CaughtUp  float64        `json:"caught_up_ms"`
	Caught    int            `json:"caught_up"` // how many returning subscribers caught up
	Missing   int            `json:"missing"`   // messages, over all subscribers
	Disorder  int            `json:"disorder"`  // messages that arrived twice or late
	Closed    int            `json:"closed"`    // connections that the server has closed
}

// storm makes subscribers drop, and come back with the id of an event that is some
// messages old. Meanwhile others get messages at a steady rate. It reports the
// others' latency before and during the storm, and when the last returning
// subscriber has caught up.
func storm(args []string) (any, error) {
	var t target
	flags := flag.NewFlagSet("load storm", flag.ExitOnError)
	t.register(flags)
	others := flags.Int("others", 1000, "subscribers that stay, and are measured")
	returning := flags.Int("returning", 10000, "subscribers that drop and come back")
	behind := flags.Int("behind", 500, "how many messages behind they come back")
	within := flags.Duration("within", time.Second, "time from the drop until the last comes back")
	rate := flags.Float64("rate", 10, "messages a second")
	before := flags.Duration("before", 5*time.Second, "how long to measure before they drop")
	after := flags.Duration("after", 3*time.Second, "how long to measure after all have caught up")
	bound := flags.Duration("bound", 60*time.Second, "how long to wait for all to catch up")
	idle := flags.Duration("idle", 2*time.Second, "the pause before the first message")
	apart := flags.Bool("apart", false, "give the others a topic of their own: only they get messages meanwhile")
	if err := t.parse(flags, args); err != nil {
		return nil, err
	}
	if *behind < 1 || *rate <= 0 {
		return nil, errors.New("-behind and -rate must be more than 0")
	}

	most := int((*before+*after+*bound+20*time.Second).Seconds()**rate) * *others
	r, err := newStormRun(t, *others, *returning, most, *apart)
	if err != nil {
		return nil, err
	}
	// The messages to be behind are there before anybody subscribes.
	if err := r.history.publish(*behind + 1); err != nil {
		return nil, err
	}
	for _, c := range []*subscribers{r.others, r.returning} {
		if err := r.subscribe(c); err != nil {
			return nil, err
		}
	}
	first := r.live.posted
	r.interval = int64(float64(time.Second) / *rate)
	r.due = now() + int64(*idle)
	if err := r.runUntil(r.due + int64(*before)); err != nil {
		return nil, err
	}

	drop, dropped := r.live.posted, now()
	result := stormResult{Others: *others, Returning: *returning, Behind: *behind}
	if err := r.drop(); err != nil {
		return nil, err
	}
	result.Dropped = measure.Milliseconds(now() - dropped)
	if err := r.comeBack(len(r.history.ids)-*behind, dropped, int64(*within)); err != nil {
		return nil, err
	}
	result.Returned = measure.Milliseconds(now() - dropped)
	until := dropped + int64(*bound)
	if err := r.run(func() bool { return r.caught == *returning || now() > until }); err != nil {
		return nil, err
	}
	result.CaughtUp = measure.Milliseconds(max(r.lastCaught-dropped, 0))
	caught := r.live.posted

	if err := r.runUntil(now() + int64(*after)); err != nil {
		return nil, err
	}
	r.interval = 0
	until = now() + patience
	if err := r.run(func() bool { return r.owed() == 0 || now() > until }); err != nil {
		return nil, err
	}

	result.Before = measure.NewSpread(r.latencies(first, drop))
	result.During = measure.NewSpread(r.latencies(drop, caught))
	result.After = measure.NewSpread(r.latencies(caught, r.live.posted))
	if result.Before.P99 > 0 {
		result.Ratio = math.Round(result.During.P99/result.Before.P99*1000) / 1000
	}
	result.Caught = r.caught
	result.Missing = r.missing + r.owed()
	result.Disorder = r.disorder
	result.Closed = r.others.closed + r.returning.closed
	return result, nil
}
