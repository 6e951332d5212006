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

// resume connects again and again, as a client that has missed messages.
func resume(args []string) (any, error) {
	flags := newFlags("resume", "[flags]", `
Connects again and again with an id as Last-Event-ID, and times each from the request
to the last byte of the -n-th message. By default the client subscribes to everything
and its id is that of the message -n behind the newest. With -middle it subscribes to
one topic of -topics, each time to another at random, and its id is that of the
message in the middle of the log. That requires -n messages in all topics after it,
and that one run of the server has stored the first half of the log.`)
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
	id, err := firstID(*addr, strconv.Itoa(*behind), 0, by)
	if err == nil && *middle {
		var oldest string
		if oldest, err = firstID(*addr, "start", 1, by); err == nil {
			id, err = middleID(oldest, id)
		}
	}
	if err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(1, 0))
	latencies := make([]int64, 0, *times)
	for start := time.Now(); len(latencies) < *times && time.Since(start) < *length; {
		topic := "**"
		if *middle {
			topic = n.name(random.IntN(n.count))
		}
		took, err := once(*addr, topic, id, *behind, by)
		if err != nil {
			return nil, fmt.Errorf("topic %s after %s: %w", topic, id, err)
		}
		latencies = append(latencies, int64(took))
	}
	return measure.NewSpread(latencies), nil
}

// once resumes once, and returns how long that took. To connect is not part of it.
func once(addr, topic, id string, count int, by time.Time) (took time.Duration, err error) {
	c, err := dial(addr, by)
	if err != nil {
		return 0, err
	}
	defer c.close()
	start := time.Now()
	s, err := c.subscribe(addr, url.Values{"topic": {topic}}, id)
	if err == nil {
		err = s.await(count)
	}
	if err != nil {
		return 0, err
	}
	return time.Since(start), nil
}

// middleID returns the id in the middle between two ids, if all messages until there
// were stored by the same run of the server as the first. The part of an id after "-"
// counts the messages of the log. The part before it is another for each run.
func middleID(first, last string) (string, error) {
	run, _, _ := strings.Cut(first, "-")
	var sum uint64
	for _, id := range []string{first, last} {
		_, digits, _ := strings.Cut(id, "-")
		n, err := strconv.ParseUint(digits, 10, 64)
		if err != nil {
			return "", fmt.Errorf("the id %q does not end with a number", id)
		}
		sum += n
	}
	return run + "-" + strconv.FormatUint(sum/2, 10), nil
}
