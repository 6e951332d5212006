//go:build linux

package main

import (
	"errors"
	"math"
	"strconv"
	"sync"
	"time"

	"example.com/tidings/bench/internal/measure"
)

// A loadResult is what load has measured. Sizes are in units of a million bytes.
type loadResult struct {
	measure.Spread // of the acknowledgements

	Topics            int            `json:"topics"`
	PerSecond         float64        `json:"per_s"`
	Messages          int            `json:"messages"` // acknowledged
	MessagesPerSecond float64        `json:"messages_per_s"`
	Logical           float64        `json:"logical_mb"` // topics and data of the acknowledged messages
	Failed            int            `json:"failed"`     // requests that were not acknowledged
	Answers           map[string]int `json:"answers"`    // statuses and errors

	*serverUse // with -i
}

// A serverUse is what the server has used during a load.
type serverUse struct {
	measure.Use

	PerRequest     float64 `json:"srv_us_per_req"`
	WrittenLogical float64 `json:"written_per_logical"`
}

// A publishing is a load as the flags describe it.
type publishing struct {
	addr        string
	connections int
	size, batch int
	rate        int
	names       names
	sequence    *sequence
	length      time.Duration
	bound       time.Duration
	start, end  time.Time
	by          time.Time // when everything must be done

	pid  int    // of the server to watch, or 0
	data string // its folder, or empty
}

// parsePublishing returns the load that the arguments describe.
func parsePublishing(args []string) (*publishing, error) {
	flags := newFlags("load", "[flags]", `
Publishes over connections that each wait for an answer before they send again. The
result has the latency of the acknowledgements, and the number of requests that were
not acknowledged with 201, or 200 for a batch. After such a request its connection
goes on, unless it is closed.`)
	addr, bound, topics := addrFlag(flags), boundFlag(flags), topicsFlag(flags)
	connections := flags.Int("c", 64, "connections")
	length := flags.Duration("d", 5*time.Second, "how long to publish")
	count := flags.Int64("n", 0, "publish this many messages instead, however long it takes")
	size := flags.Int("s", 100, "bytes of a message")
	batch := flags.Int("b", 0, "publish batches of this many messages; 0 publishes single messages")
	random := flags.Bool("random", false, "choose topics at random; by default messages go to one topic after the other")
	rate := flags.Int("r", 0, "requests a second over all connections, timed from when each was due; 0 sends without pause")
	pid := flags.Int("i", 0, "the server's `PID`: also report its CPU, memory and bytes written")
	data := flags.String("data", "", "the server's data `folder`: also report the disk that it uses; requires -i")
	if err := parse(flags, args, 0); err != nil {
		return nil, err
	}
	n, err := newNames(*topics)
	if err != nil {
		return nil, err
	}
	if *connections < 1 || *size < 0 || *batch < 0 || *rate < 0 || *count < 0 {
		return nil, errors.New("a flag is negative, or there is no connection")
	}
	if *data != "" && *pid == 0 {
		return nil, errors.New("-data requires -i")
	}
	if *count > 0 {
		*length = *bound
	}
	return &publishing{
		addr: *addr, connections: *connections, size: *size, batch: *batch, rate: *rate, names: n,
		sequence: &sequence{topics: *topics, random: *random, limit: *count},
		length:   *length, bound: *bound, pid: *pid, data: *data,
	}, nil
}

// load publishes for a while, or until a number of messages is taken.
func load(args []string) (any, error) {
	p, err := parsePublishing(args)
	if err != nil {
		return nil, err
	}
	var watch *measure.Watch
	if p.pid != 0 {
		if watch, err = measure.NewWatch(p.pid, p.data); err != nil {
			return nil, err
		}
	}
	totals, took := p.run()
	result := totals.result(p, took.Seconds())
	if watch == nil {
		return result, nil
	}
	use, err := watch.End()
	if err != nil {
		return nil, err
	}
	result.serverUse = &serverUse{Use: use}
	if result.Count > 0 {
		result.PerRequest = round(use.CPU*1e3/float64(result.Count), 1)
		result.WrittenLogical = round(use.Written/(float64(totals.logical)/1e6), 3)
	}
	return result, nil
}

// totals are what the connections have seen.
type totals struct {
	latencies []int64
	messages  int
	logical   int64
	failed    int
	answers   map[string]int
}

func (t *totals) add(o totals) {
	t.latencies = append(t.latencies, o.latencies...)
	t.messages += o.messages
	t.logical += o.logical
	t.failed += o.failed
	for k, v := range o.answers {
		t.answers[k] += v
	}
}

func (t *totals) result(p *publishing, took float64) loadResult {
	return loadResult{
		Spread:            measure.NewSpread(t.latencies),
		Topics:            p.names.count,
		PerSecond:         math.Round(float64(len(t.latencies)) / took),
		Messages:          t.messages,
		MessagesPerSecond: math.Round(float64(t.messages) / took),
		Logical:           measure.Megabytes(t.logical),
		Failed:            t.failed,
		Answers:           t.answers,
	}
}

// run publishes over all connections, and returns when they are done and how long
// that took.
func (p *publishing) run() (totals, time.Duration) {
	p.start = time.Now()
	p.end, p.by = p.start.Add(p.length), p.start.Add(p.bound)
	all := totals{answers: map[string]int{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for c := range p.connections {
		wg.Go(func() {
			t := p.connection(c)
			mu.Lock()
			defer mu.Unlock()
			all.add(t)
		})
	}
	wg.Wait()
	return all, time.Since(p.start)
}

// connection publishes over connection c until the end.
func (p *publishing) connection(c int) totals {
	t := totals{answers: map[string]int{}}
	fail := func(answer string) {
		t.failed++
		t.answers[answer]++
	}
	conn, err := dial(p.addr, p.by)
	if err != nil {
		fail(err.Error())
		return t
	}
	defer conn.close()
	count, stored := 1, 201
	r := newMessage(p.addr, p.names, p.size)
	if p.batch > 0 {
		count, stored = p.batch, 200
		r = newBatch(p.addr, p.names, p.size, p.batch)
	}
	topicLength := len(prefix) + p.names.digits
	picker := p.sequence.picker(uint64(c))
	for i := 0; ; i++ {
		begin := time.Now()
		if p.rate > 0 {
			begin = p.start.Add(time.Duration(float64(i*p.connections+c) / float64(p.rate) * float64(time.Second)))
			if begin.Before(p.end) {
				time.Sleep(time.Until(begin))
			}
		}
		if !begin.Before(p.end) {
			return t
		}
		messages := picker.take(count)
		if messages == 0 {
			return t
		}
		status, err := conn.send(r.fill(picker, messages))
		switch {
		case err != nil:
			fail(err.Error())
			return t
		case status != stored:
			fail(strconv.Itoa(status))
		default:
			t.latencies = append(t.latencies, int64(time.Since(begin)))
			t.answers[strconv.Itoa(status)]++
			t.messages += messages
			t.logical += int64(messages) * int64(topicLength+p.size)
		}
	}
}

// round rounds to a number of decimals.
func round(x float64, decimals int) float64 {
	unit := math.Pow10(decimals)
	return math.Round(x*unit) / unit
}
