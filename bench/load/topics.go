//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"strconv"
	"syscall"
	"time"

	"example.com/tidings/bench/internal/measure"
)

// A topicsResult is what topics has measured.
type topicsResult struct {
	Topics     int            `json:"topics"`
	Messages   int            `json:"messages"`
	CPU        float64        `json:"srv_us_per_msg"` // the server's, user and system, in microseconds
	PerSecond  float64        `json:"msgs_per_s"`
	Astray     int            `json:"astray"` // messages to the wrong subscriber, or out of turn
	Closed     int            `json:"closed"`
	Deliveries measure.Spread `json:"delivered"` // with -apart, of acknowledgements
}

// stride visits the topics in an order that no cache foresees. It has no common
// factor with the number of topics.
const stride = 7919

// topics gives each subscriber its own topic and publishes to one topic after
// another. It publishes a message once the last is acknowledged and delivered. It
// reports what a message costs the server. With -apart all messages go to one extra
// topic without subscribers, each once the last is acknowledged.
func topics(args []string) (any, error) {
	var t target
	flags := flag.NewFlagSet("load topics", flag.ExitOnError)
	t.register(flags)
	pid := flags.Int("pid", 0, "the server's process")
	count := flags.Int("topics", 10000, "topics, each with one subscriber")
	messages := flags.Int("messages", 20000, "messages to measure")
	warm := flags.Int("warm", 10000, "messages before the measured ones")
	idle := flags.Duration("idle", 2*time.Second, "the pause before the first message")
	apart := flags.Bool("apart", false, "publish to a topic that has no subscriber")
	if err := t.parse(flags, args); err != nil {
		return nil, err
	}
	if *pid == 0 {
		return nil, errors.New("-pid is missing")
	}
	if *count < 1 && !*apart {
		return nil, errors.New("-topics must be more than 0 without -apart")
	}

	p, err := newPublisher(t, "")
	if err != nil {
		return nil, err
	}
	var due, delivered, astray int // the subscriber of the message, whether it has it, and wrong deliveries
	var latency int64
	var c *subscribers
	c, err = newSubscribers(*count, t.port, func(sub int, at int64, number uint32) {
		if sub != due || number != p.posted-1 || delivered > 0 {
			astray++
			return
		}
		delivered++
		latency = c.polled - at
	})
	if err != nil {
		return nil, err
	}
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: -1}
	if err := syscall.EpollCtl(c.epoll, syscall.EPOLL_CTL_ADD, p.fd, &event); err != nil {
		return nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	names := make([]string, *count)
	for i := range names {
		names[i] = "bench." + strconv.Itoa(i)
		if err := c.connect(i, subscription(t.addr, names[i], ""), 0); err != nil {
			return nil, err
		}
		if err := c.waitOpened(i - connecting); err != nil {
			return nil, err
		}
	}
	if err := c.waitOpened(*count); err != nil {
		return nil, err
	}
	time.Sleep(*idle)

	publish := func(i int) error {
		if *apart {
			p.topic, due, delivered = "bench.apart", -1, 1
		} else {
			due, delivered = i*stride%*count, 0
			p.topic = names[due]
		}
		posted := now()
		if err := p.post(); err != nil {
			return err
		}
		for until := now() + patience; p.outstanding() > 0 || delivered == 0; {
			if _, err := c.poll(64, 1000); err != nil {
				return err
			}
			if err := p.read(); err != nil {
				return err
			}
			if now() > until {
				return fmt.Errorf("message %d has not come", i)
			}
		}
		if *apart {
			latency = now() - posted
		}
		return nil
	}
	for i := range *warm {
		if err := publish(i); err != nil {
			return nil, err
		}
	}
	latencies := make([]int64, 0, *messages)
	cpu, err := measure.ProcessTime(*pid)
	if err != nil {
		return nil, err
	}
	begin := now()
	for i := range *messages {
		if err := publish(*warm + i); err != nil {
			return nil, err
		}
		latencies = append(latencies, latency)
	}
	took := now() - begin
	used, err := measure.ProcessTime(*pid)
	if err != nil {
		return nil, err
	}
	return topicsResult{
		Topics: *count, Messages: *messages,
		CPU:       math.Round(float64((used-cpu).Nanoseconds())/float64(*messages)) / 1e3,
		PerSecond: math.Round(float64(*messages) * 1e9 / float64(took)),
		Astray:    astray, Closed: c.closed,
		Deliveries: measure.NewSpread(latencies),
	}, nil
}

// connecting is how many connections may be opening at the same time.
const connecting = 256
