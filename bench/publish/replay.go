//go:build linux

package main

import (
	"net/url"
	"time"

	"example.com/tidings/bench/internal/measure"
)

// A replayResult is what replay has measured.
type replayResult struct {
	Messages  int     `json:"messages"`
	PerSecond float64 `json:"messages_per_s"`
	MBPerS    float64 `json:"mb_per_s"`
	First     float64 `json:"first_ms"` // from the request until the first bytes
	Took      float64 `json:"took_ms"`
}

// replay reads a stream from the oldest message on.
func replay(args []string) (any, error) {
	flags := newFlags("replay", "[flags]", `
Reads the stored messages as one client, from the oldest on, until it has -n of them.`)
	addr, bound := addrFlag(flags), boundFlag(flags)
	count := flags.Int("n", 1_000_000, "how many messages to read")
	topic := flags.String("topic", "**", "the topic, or a filter")
	if err := parse(flags, args, 0); err != nil {
		return nil, err
	}
	start := time.Now()
	c, err := dial(*addr, start.Add(*bound))
	if err != nil {
		return nil, err
	}
	defer c.close()
	start = time.Now()
	s, err := c.subscribe(*addr, url.Values{"topic": {*topic}, "from": {"start"}}, "")
	if err != nil {
		return nil, err
	}
	first := time.Since(start)
	if err := s.await(*count); err != nil {
		return nil, err
	}
	took := time.Since(start)
	return replayResult{
		Messages: s.messages(), PerSecond: round(float64(s.messages())/took.Seconds(), 0),
		MBPerS: round(float64(s.bytes)/1e6/took.Seconds(), 1),
		First:  measure.Milliseconds(int64(first)), Took: measure.Milliseconds(int64(took)),
	}, nil
}
