//go:build linux

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"time"

	"example.com/tidings/bench/internal/measure"
)

// A resumeResult is what resume has measured.
type resumeResult struct {
	measure.Spread

	Gaps int `json:"gaps"`
}

// resume connects again and again, as a client that has missed messages.
func resume(args []string) (any, error) {
	flags := newFlags("resume", "[flags]", `
Connects again and again with an id as Last-Event-ID, and times each from the request
to the last byte of the -n-th message. By default the client subscribes to everything
and its id is that of the message -n behind the newest. With -middle it subscribes to
one topic of -topics, each time to another at random, and its id is that of the
message in the middle of the log. That requires messages in all topics after it.`)
	addr, bound, topics := addrFlag(flags), boundFlag(flags), topicsFlag(flags)
	behind := flags.Int("n", 10, "how many messages to wait for")
	times := flags.Int("times", 500, "how often to connect, at most")
	length := flags.Duration("d", time.Minute, "connect no more after this long")
	middle := flags.Bool("middle", false, "resume one topic from the middle of the log")
	if err := parse(flags, args, 0); err != nil {
		return nil, err
	}
	n, err := newNames(*topics)
	if err != nil {
		return nil, err
	}
	if *behind < 1 || *times < 1 {
		return nil, errors.New("-n and -times must be 1 or more")
	}
	by := time.Now().Add(*bound)
	id, err := place(*addr, strconv.Itoa(*behind), by)
	if err == nil && *middle {
		id, err = half(id)
	}
	if err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(1, 0))
	var result resumeResult
	latencies := make([]int64, 0, *times)
	for start := time.Now(); len(latencies) < *times && time.Since(start) < *length; {
		topic := "**"
		if *middle {
			topic = n.name(random.IntN(n.count))
		}
		took, gaps, err := once(*addr, topic, id, *behind, by)
		if err != nil {
			return nil, fmt.Errorf("topic %s after %s: %w", topic, id, err)
		}
		latencies = append(latencies, int64(took))
		result.Gaps += gaps
	}
	result.Spread = measure.NewSpread(latencies)
	return result, nil
}

// once resumes once, and returns how long that took. To connect is not part of it.
func once(addr, topic, id string, count int, by time.Time) (took time.Duration, gaps int, err error) {
	c, err := dial(addr, by)
	if err != nil {
		return 0, 0, err
	}
	defer c.close()
	start := time.Now()
	s, err := c.subscribe(addr, url.Values{"topic": {topic}}, id)
	if err == nil {
		err = s.await(count)
	}
	if err != nil {
		return 0, 0, err
	}
	return time.Since(start), s.gaps.count, nil
}

// half returns the id in the middle between the beginning of a log and id. The part
// of an id after the last "-" counts the messages of its log.
func half(id string) (string, error) {
	i := strings.LastIndexByte(id, '-')
	n, err := strconv.ParseUint(id[i+1:], 10, 64)
	if i < 0 || err != nil {
		return "", fmt.Errorf("the id %q does not end with a number", id)
	}
	return id[:i+1] + strconv.FormatUint(n/2, 10), nil
}
